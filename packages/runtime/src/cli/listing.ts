import { SallyportError, type LogEntry, type SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath, writeOut } from './connection.ts';
import { formatBytes, formatMoment, formatTable, showText } from './table.ts';

/** Adds `ls`, `inspect` and `logs`. */
export function addListingCommands(program: Command): void {
  program
    .command('ls')
    .description('List sandboxes, the oldest first.')
    .option('--json', 'print them as a JSON array')
    .option('-q, --quiet', 'print their names alone')
    .action(async (flags: { readonly json?: boolean; readonly quiet?: boolean }) => {
      const client = await connect();
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      if (flags.json === true) process.stdout.write(`${JSON.stringify(sandboxes)}\n`);
      else if (flags.quiet === true) process.stdout.write(sandboxes.map(({ name }) => `${name}\n`).join(''));
      else process.stdout.write(describeSandboxes(sandboxes));
    });
  program
    .command('inspect')
    .description('Tell everything about a sandbox but the values of its secrets.')
    .argument('<name>', 'the sandbox')
    .option('--json', 'print it as JSON on one line')
    .action(async (name: string, flags: { readonly json?: boolean }) => {
      const client = await connect();
      const sandbox = await client.ask<SandboxInfo>({ method: 'GET', path: sandboxPath(name) });
      process.stdout.write(flags.json === true ? `${JSON.stringify(sandbox)}\n` : describeSandbox(sandbox));
    });
  program
    .command('logs')
    .description('Print what the commands of a sandbox wrote, each stream to its own.')
    .argument('<name>', 'the sandbox')
    .argument('[command]', 'the id of one command (default: all of them, the oldest first)')
    .option('-f, --follow', 'go on with what they will write')
    .option('-n, --tail <count>', 'only the last so many pieces')
    .option('--json', 'print each piece as a line of JSON, its data in base64')
    .action(async (name: string, id: string | undefined, flags: LogFlags) => {
      const client = await connect();
      const query = new URLSearchParams();
      if (id !== undefined) query.set('exec', id);
      if (flags.follow === true) query.set('follow', 'true');
      if (flags.tail !== undefined) query.set('tail', readCount(flags.tail));
      const path = `${sandboxPath(name)}/logs?${query.toString()}`;
      for await (const { type, data } of client.events({ method: 'GET', path })) {
        if (type === 'error') throw streamFailure(data);
        const entry = JSON.parse(data) as LogEntry;
        if (flags.json === true) {
          await writeOut(process.stdout, `${JSON.stringify(entry)}\n`);
          continue;
        }
        const stream = entry.stream === 'stdout' ? process.stdout : process.stderr;
        await writeOut(stream, Buffer.from(entry.data, 'base64'));
      }
    });
}

interface LogFlags {
  readonly follow?: boolean;
  readonly tail?: string;
  readonly json?: boolean;
}

function readCount(text: string): string {
  if (/^\d{1,9}$/.test(text)) return text;
  throw new SallyportError('USAGE', '--tail takes a whole number, such as 100.');
}

/** The problem that the daemon ended an event stream with. */
export function streamFailure(data: string): SallyportError {
  const { problem } = JSON.parse(data) as { problem: { code: SallyportError['code']; detail: string } };
  return new SallyportError(problem.code, problem.detail);
}

function describeSandboxes(sandboxes: readonly SandboxInfo[]): string {
  return formatTable([
    ['NAME', 'STATE', 'COMMANDS', 'CREATED', 'SECRETS'],
    ...sandboxes.map(({ name, state, runningExecs, createdAt, secrets }) => [
      name,
      state,
      String(runningExecs),
      formatMoment(createdAt),
      secrets.join(','),
    ]),
  ]);
}

function describeSandbox(sandbox: SandboxInfo): string {
  const { limits } = sandbox;
  const facts: readonly (readonly [string, string | null])[] = [
    ['name', sandbox.name],
    ['id', sandbox.id],
    ['state', sandbox.reason === null ? sandbox.state : `${sandbox.state}: ${sandbox.reason}`],
    ['gate', sandbox.gate],
    ['image', sandbox.image],
    ['runtime', sandbox.runtime],
    ['created', formatMoment(sandbox.createdAt)],
    ['started', sandbox.startedAt === null ? null : formatMoment(sandbox.startedAt)],
    ['stopped', sandbox.stoppedAt === null ? null : formatMoment(sandbox.stoppedAt)],
    ['commands', String(sandbox.runningExecs)],
    ['secrets', sandbox.secrets.join(', ') || null],
    ['variables', Object.keys(sandbox.env).join(', ') || null],
    ['workspace', sandbox.workspace],
    ...sandbox.volumes.map(
      ({ source, destination, readOnly }) =>
        ['volume', `${source} at ${destination}${readOnly ? ', read-only' : ''}`] as const,
    ),
    ['workdir', sandbox.workdir],
    ['memory', limits.memoryBytes === null ? null : formatBytes(limits.memoryBytes)],
    ['cpus', limits.cpus === null ? null : String(limits.cpus)],
    ['processes', `${limits.pids} at most`],
    ['audit', sandbox.auditFile],
    ...Object.entries(sandbox.labels).map(([label, value]) => ['label', `${label}=${value}`] as const),
    ...sandbox.notices.map((notice) => ['notice', notice] as const),
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts
    .flatMap(([name, value]) => (value === null ? [] : [`${name.padEnd(width)}  ${showText(value)}\n`]))
    .join('');
}
