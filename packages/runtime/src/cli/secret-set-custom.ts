import { SallyportError, type StoredSecretChange } from '@sallyport/sdk';
import { Option, type Command } from 'commander';
import { parseMethods } from '../policy/method.ts';
import { parsePathGlob } from '../policy/path-glob.ts';
import { readSecretHosts } from '../secrets/secret-spec.ts';
import { VIOLATION_ACTIONS, type ViolationAction } from '../secrets/stored-secret.ts';
import { connect } from './daemon-connection.ts';
import { askHidden, readSecretValue } from './hidden-prompt.ts';
import { createReporter } from './report.ts';
import {
  addScopeOptions,
  checkSecretName,
  checkVariable,
  describeScope,
  readScope,
  type ScopeFlags,
} from './secret-scope.ts';
import { mayReplace, putSecret, warnOfArgument } from './secret-set.ts';
import { addSourceOptions, addStoreOption, readSource, type SourceFlags, type StoreFlags } from './secret-source.ts';

interface CustomFlags extends ScopeFlags, SourceFlags, StoreFlags {
  readonly host?: readonly string[];
  readonly env?: string;
  readonly value?: string;
  readonly placeholder?: string;
  readonly in?: readonly string[];
  readonly method?: readonly string[];
  readonly path?: string;
  readonly onViolation?: ViolationAction;
  readonly name?: string;
  readonly force?: boolean;
}

const EXAMPLES = `
Examples:
  sallyport secret set-custom -g --host api.example.com --env API_KEY      # asks for the value, and does not show it
  printf %s "$KEY" | sallyport secret set-custom -g --host api.example.com --host uploads.example.com --env API_KEY
  sallyport secret set-custom my-sandbox --host '*.example.com' --env API_KEY --placeholder 'sk-example-{rand}' --in header:X-Api-Key
  sallyport secret set-custom -g --host api.example.com --env API_KEY --ref vault://secret/example#key --method GET --path '/v1/**'`;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport secret set-custom`. */
export function addSecretSetCustomCommand(secret: Command, settle: (status: number) => void): void {
  const command = secret
    .command('set-custom')
    .usage('[options] (-g | SANDBOX) --host HOST --env VARIABLE')
    .summary('store a secret for hosts of your choice')
    .description(
      'Store a secret for hosts of your choice, for all sandboxes (-g) or for one. Its variable holds a placeholder; in requests to these hosts the ' +
        'placeholder becomes the value. Running sandboxes have it at once. The value comes from a hidden question at a terminal, else from standard input.',
    )
    .argument('[name]', 'the sandbox');
  addScopeOptions(command)
    .option(
      '--host <host>',
      'HOST[:PORT], *.NAME (one label), **.NAME (any depth), http://HOST for cleartext; can be repeated',
      collect,
    )
    .option('--env <variable>', 'the variable that holds the placeholder')
    .option('--value <value>', 'the value itself (the shell history and the process list show it)');
  addSourceOptions(command)
    .option('--placeholder <text>', 'what the sandbox sees; {rand} becomes 22 random characters')
    .option(
      '--in <locations>',
      'where it is replaced: header, header:NAME, basic, query, path, body, websocket (default: header,basic,query,path,body)',
      collect,
    )
    .option('--method <methods>', 'only in requests of these methods, such as GET,POST', collect)
    .option('--path <glob>', 'only in requests to these paths, such as /v1/**')
    .addOption(
      new Option(
        '--on-violation <action>',
        "what happens to the placeholder elsewhere: it stays what it is (pass, the default), the request is refused, or the sandbox's connection ends",
      ).choices([...VIOLATION_ACTIONS]),
    )
    .option('--name <name>', 'what listings and audit events call it (default: the variable)')
    .option('-f, --force', 'replace one that is there without asking');
  addStoreOption(command)
    .addHelpText('after', EXAMPLES)
    .action(async (word: string | undefined, flags: CustomFlags) => settle(await setCustom(word, flags)));
}

/** Resolves to the exit status. */
async function setCustom(word: string | undefined, flags: CustomFlags): Promise<number> {
  const scope = readScope(word === undefined ? [] : [word], flags);
  if (scope === undefined) {
    throw new SallyportError(
      'USAGE',
      'It is not said for whom the secret is. Write sallyport secret set-custom -g … for all sandboxes ("set-custom -g --host …"), or sallyport secret set-custom SANDBOX … for one ("set-custom my-sandbox --host …").',
    );
  }
  const { env, host = [] } = flags;
  if (env === undefined)
    throw new SallyportError('USAGE', 'There is no variable for the placeholder. Add --env VARIABLE.');
  if (host.length === 0) {
    throw new SallyportError('USAGE', 'There is no host that the secret is for. Add --host HOST, once for each.');
  }
  const source = readSource(flags);
  if (source !== null && flags.value !== undefined) {
    throw new SallyportError('USAGE', 'A value comes from one place: leave out --value, or --command and --ref.');
  }
  const reporter = createReporter({ quiet: false, verbose: false });
  if (flags.value !== undefined) warnOfArgument('--value', reporter);
  checkVariable(env);
  const name = checkSecretName(flags.name ?? env);
  readSecretHosts(host, name);
  const methods = flags.method?.flatMap((text) => parseMethods(text));
  if (flags.path !== undefined) parsePathGlob(flags.path);
  const question = `${name} for ${describeScope(scope)} (not shown): `;
  const client = await connect();
  if (!(await mayReplace(client, scope, name, flags.force === true))) return 1;
  const value = source ?? {
    value: flags.value ?? (await readSecretValue(name, async () => await askHidden(question, true))),
  };
  const change: StoredSecretChange = {
    kind: 'custom',
    env,
    hosts: [...host],
    ...value,
    ...(flags.in === undefined
      ? {}
      : { locations: flags.in.flatMap((list) => list.split(',')).map((text) => text.trim()) }),
    ...(methods === undefined ? {} : { methods }),
    ...(flags.path === undefined ? {} : { path: flags.path }),
    ...(flags.onViolation === undefined ? {} : { onViolation: flags.onViolation }),
    ...(flags.placeholder === undefined ? {} : { placeholder: flags.placeholder }),
    ...(flags.store === undefined ? {} : { store: flags.store }),
  };
  await putSecret(client, scope, name, change, reporter);
  return 0;
}
