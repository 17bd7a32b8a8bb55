import type { LogEntry, SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';

async function connect() {
  const { connectDaemon } = await import('../client/start-daemon.ts');
  return await connectDaemon(process.env);
}

/** Adds `ls`, `inspect` and `logs`. */
export function addListingCommands(program: Command): void {
  program
    .command('ls')
    .description('List sandboxes.')
    .option('--json', 'print them as JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const client = await connect();
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      process.stdout.write(flags.json === true ? `${JSON.stringify(sandboxes)}\n` : formatTable(sandboxes));
    });
  program
    .command('inspect')
    .description('Tell everything about a sandbox but the values of its secrets.')
    .argument('<name>', 'the sandbox')
    .option('--json', 'print it as JSON on one line')
    .action(async (name: string, flags: { readonly json?: boolean }) => {
      const client = await connect();
      const path = `/v1/sandboxes/${encodeURIComponent(name)}`;
      const sandbox = await client.ask<SandboxInfo>({ method: 'GET', path });
      process.stdout.write(`${JSON.stringify(sandbox, null, flags.json === true ? 0 : 2)}\n`);
    });
  program
    .command('logs')
    .description('Print what the commands of a sandbox wrote.')
    .argument('<name>', 'the sandbox')
    .option('-f, --follow', 'go on with what they will write')
    .option('-n, --tail <count>', 'only the last so many pieces')
    .action(async (name: string, flags: { readonly follow?: boolean; readonly tail?: string }) => {
      const client = await connect();
      const query = new URLSearchParams();
      if (flags.follow === true) query.set('follow', 'true');
      if (flags.tail !== undefined) query.set('tail', flags.tail);
      const path = `/v1/sandboxes/${encodeURIComponent(name)}/logs?${query.toString()}`;
      for await (const { data } of client.events({ method: 'GET', path })) {
        const entry = JSON.parse(data) as LogEntry;
        const stream = entry.stream === 'stdout' ? process.stdout : process.stderr;
        await new Promise<void>((resolve) => stream.write(Buffer.from(entry.data, 'base64'), () => resolve()));
      }
    });
}

/** Columns for people; programs take `--json`. */
function formatTable(sandboxes: readonly SandboxInfo[]): string {
  const rows = [
    ['NAME', 'STATE', 'COMMANDS', 'CREATED', 'SECRETS'],
    ...sandboxes.map(({ name, state, runningExecs, createdAt, secrets }) => [
      name,
      state,
      String(runningExecs),
      createdAt.slice(0, 19).replace('T', ' '),
      secrets.join(','),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
