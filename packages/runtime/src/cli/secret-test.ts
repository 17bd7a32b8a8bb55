import type { StoredSecretTest } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { addScopeOptions, describeScope, readScopeAndName, secretPath, type ScopeFlags } from './secret-scope.ts';

/** Adds `sallyport secret test`. */
export function addSecretTestCommand(secret: Command): void {
  const command = secret
    .command('test')
    .usage('[options] -g NAME | SANDBOX NAME')
    .summary('find out whether the value of a stored secret can be had')
    .description(
      'Find out whether the value of a stored secret can be had at this moment: from its store, its command or its reference. It is not shown.',
    )
    .argument('[words...]', 'NAME, or SANDBOX NAME');
  addScopeOptions(command).action(async (words: readonly string[], flags: ScopeFlags) => {
    const { scope, name } = readScopeAndName(words, flags, 'secret test', 'NAME');
    const client = await connect();
    const { secret, bytes, milliseconds } = await client.ask<StoredSecretTest>({
      method: 'POST',
      path: secretPath(scope, name, '/test'),
    });
    const where = secret.from === null ? 'its store' : `its ${secret.source}`;
    process.stdout.write(
      `${name} of ${describeScope(scope)} works: ${bytes} bytes from ${where} in ${milliseconds} ms: ${secret.mask ?? ''}\n`,
    );
  });
}
