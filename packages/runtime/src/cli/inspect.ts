import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath } from './daemon-connection.ts';
import { formatBytes, formatMoment, showText } from './table.ts';

/** Adds `sallyport inspect`. */
export function addInspectCommand(program: Command): void {
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
