import type { Command } from 'commander';
import { addSecretImportCommand } from './secret-import.ts';
import { addSecretLsCommand } from './secret-ls.ts';
import { addSecretRmCommand } from './secret-rm.ts';
import { addSecretSetCustomCommand } from './secret-set-custom.ts';
import { addSecretSetCommand } from './secret-set.ts';
import { addSecretStoreCommand } from './secret-store.ts';
import { addSecretTestCommand } from './secret-test.ts';
import { refuseRepeatedOptions } from './single-options.ts';

/** Adds `sallyport secret` and its commands. */
export function addSecretCommand(program: Command, settle: (status: number) => void): void {
  const secret = program
    .command('secret')
    .summary('stored secrets')
    .description(
      'Stored secrets: keys of services, secrets for hosts of your choice, and plain ones. A sandbox has those that are stored for all sandboxes and for ' +
        'its name, the latter first; plain ones only when it asks for them.',
    );
  addSecretSetCommand(secret, settle);
  addSecretSetCustomCommand(secret, settle);
  addSecretLsCommand(secret);
  addSecretRmCommand(secret, settle);
  addSecretImportCommand(secret);
  addSecretTestCommand(secret);
  addSecretStoreCommand(secret);
  refuseRepeatedOptions(secret);
}
