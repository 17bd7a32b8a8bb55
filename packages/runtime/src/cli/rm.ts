import type { StoredSecretInfo } from '@sallyport/sdk';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import type { Command } from 'commander';
import { connect, forEachName, sandboxPath } from './daemon-connection.ts';
import { withProgress } from './progress.ts';
import { isSandboxName } from './sandbox-name.ts';
import { secretsPath } from './secret-scope.ts';

/** Adds `sallyport rm`: one sandbox or many, one after the other. */
export function addRmCommand(program: Command): void {
  program
    .command('rm')
    .description('Remove sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .option('-f, --force', 'also those that run')
    .action(async (names: readonly string[], flags: { readonly force?: boolean }) => {
      const client = await connect();
      await forEachName(names, async (name) => {
        const path = `${sandboxPath(name)}${flags.force === true ? '?force=true' : ''}`;
        await withProgress(`removing ${JSON.stringify(name.slice(0, 63))}`, client.ask({ method: 'DELETE', path }));
        process.stdout.write(`${name}\n`);
        if (isSandboxName(name)) await tellWhatStays(client, name);
      });
    });
}

/** What is stored under the name of a sandbox may be older than it, and is there for the next one of that name: it stays, and is told of. */
async function tellWhatStays(client: DaemonClient, name: string): Promise<void> {
  const { secrets } = await client.ask<{ secrets: StoredSecretInfo[] }>({ method: 'GET', path: secretsPath(name) });
  if (secrets.length === 0) return;
  const names = secrets.map((secret) => secret.name).join(', ');
  process.stderr.write(
    `sallyport: what is stored for the name ${name} stays: ${names}. "sallyport secret rm ${name} --all" removes it\n`,
  );
}
