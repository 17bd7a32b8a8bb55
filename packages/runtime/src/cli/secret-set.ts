import {
  SallyportError,
  type StoredSecretChange,
  type StoredSecretInfo,
  type StoredSecretResult,
} from '@sallyport/sdk';
import { Option, type Command } from 'commander';
import { findService, SERVICES } from '../services/catalogue.ts';
import { wantsAwsKeys } from '../services/credential.ts';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { connect } from './daemon-connection.ts';
import { askHidden, askYesNo, hasTerminal, readSecretValue } from './hidden-prompt.ts';
import { createReporter, type Reporter } from './report.ts';
import {
  addScopeOptions,
  checkVariable,
  describeScope,
  readScopeAndName,
  secretPath,
  secretsPath,
  type Scope,
  type ScopeFlags,
} from './secret-scope.ts';
import { addSourceOptions, addStoreOption, readSource, type SourceFlags, type StoreFlags } from './secret-source.ts';

interface SetFlags extends ScopeFlags, SourceFlags, StoreFlags {
  readonly token?: string;
  readonly plain?: boolean;
  readonly env?: string;
  readonly force?: boolean;
  readonly registry?: string;
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly oauth?: boolean;
}

const EXAMPLES = `
Services: ${SERVICES.map(({ name }) => name).join(', ')}.

Examples:
  sallyport secret set -g anthropic                      # asks for the value, and does not show it
  sallyport secret set my-sandbox openai                 # for one sandbox alone, which need not exist yet
  echo "$(gh auth token)" | sallyport secret set -g github
  sallyport secret set -g aws                            # ID:SECRET[:SESSION_TOKEN], or a question for each
  sallyport secret set -g openai --ref op://Private/OpenAI/credential
  sallyport secret set --plain -g HF_TOKEN               # "run --secret HF_TOKEN" puts the value itself into the sandbox`;

/** Adds `sallyport secret set`. */
export function addSecretSetCommand(secret: Command, settle: (status: number) => void): void {
  const command = secret
    .command('set')
    .usage('[options] -g SERVICE | SANDBOX SERVICE')
    .summary('store the key of a service, or a plain secret')
    .description(
      'Store the key of a service, for all sandboxes (-g) or for one. Sandboxes see a stand-in in the usual variable; requests to the service leave ' +
        'with the key. Running sandboxes have it at once. The value comes from a hidden question at a terminal, else from standard input. ' +
        'Exit status: 1 when one that is there was not to be replaced.',
    )
    .argument('[words...]', 'SERVICE, or SANDBOX SERVICE');
  addScopeOptions(command)
    .option('-t, --token <value>', 'the value itself (the shell history and the process list show it)')
    .option('-f, --force', 'replace one that is there without asking')
    .option(
      '--plain',
      'no stand-in: a sandbox that asks for it by name (run --secret NAME) sees the value, and can send it anywhere it may reach',
    )
    .option('--env <variable>', 'with --plain: the variable that holds the value (default: the name)')
    .option('--registry <host>', 'credentials of an image registry (not supported yet)')
    .addOption(new Option('--username <name>', 'with --registry').hideHelp())
    .addOption(new Option('--password-stdin', 'with --registry').hideHelp())
    .option('--oauth', 'sign in by OAuth (not supported yet)');
  addStoreOption(addSourceOptions(command))
    .addHelpText('after', EXAMPLES)
    .action(async (words: readonly string[], flags: SetFlags) => settle(await setSecret(words, flags)));
}

/** Resolves to the exit status. */
async function setSecret(words: readonly string[], flags: SetFlags): Promise<number> {
  refuseUnsupported(flags);
  const isPlain = flags.plain === true;
  const { scope, name } = readScopeAndName(
    words,
    flags,
    isPlain ? 'secret set --plain' : 'secret set',
    isPlain ? 'NAME' : 'SERVICE',
  );
  if (flags.env !== undefined && !isPlain) {
    throw new SallyportError(
      'USAGE',
      '--env goes with --plain: a service has its own variables. For a secret with a variable and hosts of your choice: sallyport secret set-custom.',
    );
  }
  if (flags.env !== undefined) checkVariable(flags.env);
  const reporter = createReporter({ quiet: false, verbose: false });
  const source = readSource(flags);
  if (source !== null && (isPlain || flags.token !== undefined)) {
    throw new SallyportError(
      'USAGE',
      `A value comes from one place: leave out ${isPlain ? '--plain' : '--token'}, or --command and --ref.`,
    );
  }
  if (flags.token !== undefined) warnOfArgument('--token', reporter);
  const client = await connect();
  if (!(await mayReplace(client, scope, name, flags.force === true))) return 1;
  const value =
    source === null
      ? { value: flags.token ?? (await readSecretValue(name, async () => await askValue(scope, name, isPlain))) }
      : source;
  const store = flags.store === undefined ? {} : { store: flags.store };
  const change: StoredSecretChange = isPlain
    ? {
        kind: 'plain',
        value: 'value' in value ? value.value : '',
        ...(flags.env === undefined ? {} : { env: flags.env }),
        ...store,
      }
    : { kind: 'service', ...value, ...store };
  await putSecret(client, scope, name, change, reporter);
  return 0;
}

function refuseUnsupported(flags: SetFlags): void {
  if (flags.registry !== undefined || flags.username !== undefined || flags.passwordStdin === true) {
    throw new SallyportError(
      'NOT_SUPPORTED_YET',
      '--registry: credentials of image registries are not supported yet, as are images.',
    );
  }
  if (flags.oauth === true) {
    throw new SallyportError(
      'NOT_SUPPORTED_YET',
      '--oauth: signing in by OAuth is not supported yet. Store an API key: sallyport secret set -g SERVICE.',
    );
  }
}

/** Says what is wrong with a value on the command line. */
export function warnOfArgument(option: string, reporter: Reporter): void {
  reporter.notice(
    `warning: with ${option} the value is in the process list while this runs, and probably in the history of your shell. A pipe or the hidden question keeps it out of both.`,
  );
}

/** Whether a secret may be stored: asks where one of that name is there, and somebody to answer. */
export async function mayReplace(
  client: DaemonClient,
  scope: Scope,
  name: string,
  isForced: boolean,
): Promise<boolean> {
  if (isForced || !hasTerminal()) return true;
  const { secrets } = await client.ask<{ secrets: StoredSecretInfo[] }>({ method: 'GET', path: secretsPath(scope) });
  const known = secrets.find((secret) => secret.name === name);
  if (known === undefined) return true;
  if (
    await askYesNo(
      `${name} is stored for ${describeScope(scope)} already (${known.mask ?? known.from ?? known.kind}). Replace it?`,
    )
  ) {
    return true;
  }
  process.stderr.write('sallyport: nothing was changed\n');
  return false;
}

async function askValue(scope: Scope, name: string, isPlain: boolean): Promise<string> {
  const definition = isPlain ? undefined : findService(name);
  const suffix = `for ${describeScope(scope)} (not shown): `;
  if (definition === undefined || !wantsAwsKeys(definition)) return await askHidden(`${name} ${suffix}`, true);
  const id = await askHidden(`AWS access key ID ${suffix}`, false);
  // All of it in one line.
  if (id.includes(':')) return id;
  const secret = await askHidden('AWS secret access key (not shown): ', false);
  const token = await askHidden('AWS session token (not shown; empty for none): ', true);
  return [id, secret, ...(token === '' ? [] : [token])].join(':');
}

/** Stores a secret, and tells where it is and who has it. */
export async function putSecret(
  client: DaemonClient,
  scope: Scope,
  name: string,
  change: StoredSecretChange,
  reporter: Reporter,
): Promise<void> {
  const result = await client.ask<StoredSecretResult>({ method: 'PUT', path: secretPath(scope, name), body: change });
  for (const notice of result.notices) reporter.notice(notice);
  const { mask, from } = result.secret;
  const shown = mask ?? from ?? '';
  process.stdout.write(
    `${result.created ? 'stored' : 'replaced'} ${name} for ${describeScope(scope)}${shown === '' ? '' : `: ${shown}`}\n`,
  );
  if (result.sandboxes.length > 0) reporter.notice(`running sandboxes have it: ${result.sandboxes.join(', ')}`);
}
