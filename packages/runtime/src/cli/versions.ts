import type { DaemonStatus } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connectIfThere } from './daemon-connection.ts';
import { readVersion } from './version.ts';

/** Adds `sallyport version`. */
export function addVersionCommand(program: Command): void {
  program
    .command('version')
    .summary('print the versions of this program and of the daemon')
    .description('Print the versions of this program, of its API, of Node, and of the daemon where there is one.')
    .option('--json', 'print them as JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const client = await connectIfThere();
      const daemon =
        client === undefined ? null : await client.ask<DaemonStatus>({ method: 'GET', path: '/v1/daemon' });
      const versions = {
        version: readVersion(),
        api: 'v1',
        node: process.versions.node,
        daemon: daemon === null ? null : { version: daemon.version, api: daemon.api, pid: daemon.pid },
      };
      if (flags.json === true) {
        process.stdout.write(`${JSON.stringify(versions)}\n`);
        return;
      }
      process.stdout.write(
        `sallyport ${versions.version}, API ${versions.api}, Node ${versions.node}\n` +
          (daemon === null
            ? 'no daemon runs\n'
            : `daemon ${daemon.version}, API ${daemon.api}, process ${daemon.pid}\n`),
      );
      if (daemon !== null && daemon.version !== versions.version) {
        process.stderr.write('sallyport: the daemon is of another version: sallyport daemon restart\n');
      }
    });
}
