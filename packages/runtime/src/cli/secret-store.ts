import { SallyportError, type SecretStoreInfo, type StoreSetting } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { createReporter } from './report.ts';

const STORES: readonly StoreSetting[] = ['auto', 'keychain', 'file', 'memory'];

/** Adds `sallyport secret store`. */
export function addSecretStoreCommand(secret: Command): void {
  secret
    .command('store')
    .summary('tell or choose where values are kept')
    .description(
      'Tell where the values of secrets are kept, or choose it for those that are stored from then on: in the keychain of the desktop, in encrypted files, ' +
        "or in the daemon's memory (until it ends). auto, the default, is the keychain where there is one. SALLYPORT_STORE goes before this setting.",
    )
    .argument('[store]', 'auto, keychain, file or memory')
    .option('--json', 'print it as JSON')
    .action(async (setting: string | undefined, flags: { readonly json?: boolean }) => {
      if (setting !== undefined && !STORES.some((each) => each === setting)) {
        throw new SallyportError(
          'USAGE',
          `There is no store ${JSON.stringify(setting.slice(0, 40))}. Write one of ${STORES.join(', ')}.`,
        );
      }
      const client = await connect();
      const store = await client.ask<SecretStoreInfo>(
        setting === undefined
          ? { method: 'GET', path: '/v1/store' }
          : { method: 'PUT', path: '/v1/store', body: { setting } },
      );
      const reporter = createReporter({ quiet: false, verbose: false });
      for (const notice of store.notices) reporter.notice(notice);
      process.stdout.write(flags.json === true ? `${JSON.stringify(store)}\n` : `${store.setting} (${store.kind})\n`);
    });
}
