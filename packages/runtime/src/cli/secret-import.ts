import { SallyportError, type StoredSecretResult } from '@sallyport/sdk';
import type { Command } from 'commander';
import { maskValue } from '../secrets/mask-value.ts';
import { findService, SERVICES } from '../services/catalogue.ts';
import { credentialInEnvironment } from '../services/credential.ts';
import { findServiceKey } from '../sources/service-key.ts';
import type { ServiceDefinition } from '../services/service.ts';
import { connect } from './daemon-connection.ts';
import { createReporter } from './report.ts';
import { addScopeOptions, describeScope, readScope, secretPath, type ScopeFlags } from './secret-scope.ts';
import { mayReplace } from './secret-set.ts';
import { formatTable } from './table.ts';

interface ImportFlags extends ScopeFlags {
  readonly all?: boolean;
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** A service whose key was found. */
interface Found {
  readonly definition: ServiceDefinition;
  /** Where; of AWS's profiles, which. */
  readonly variable: string;
  readonly text: string;
}

/** Adds `sallyport secret import`. */
export function addSecretImportCommand(secret: Command): void {
  const command = secret
    .command('import')
    .usage('[options] SERVICE... | --all')
    .summary("store the keys that are in this shell's environment")
    .description(
      "Store keys of services that are in this shell's environment: for all sandboxes, or with --sandbox for one. Only what is named is read; with --all, " +
        'the variables of every service. For aws the profile AWS_PROFILE is read where the variables are not set.',
    )
    .argument('[service...]', 'the services');
  addScopeOptions(command)
    .option('--all', 'every service whose variable is set')
    .option('--dry-run', 'only tell what would be stored')
    .option('-f, --force', 'replace those that are there without asking')
    .action(async (names: readonly string[], flags: ImportFlags) => await importSecrets(names, flags));
}

async function importSecrets(names: readonly string[], flags: ImportFlags): Promise<void> {
  if ((names.length === 0) === (flags.all !== true)) {
    throw new SallyportError('USAGE', 'Name the services to import, or write --all (and not both).');
  }
  const scope = readScope([], flags) ?? null;
  const found =
    flags.all === true ? SERVICES.flatMap((service) => look(service) ?? []) : await Promise.all(names.map(requireKey));
  if (found.length === 0) {
    throw new SallyportError('SECRET_SOURCE_UNSET', 'No variable of any service is set in this environment.');
  }
  if (flags.dryRun === true) {
    process.stdout.write(
      formatTable([
        ['SERVICE', 'VARIABLE', 'SECRET'],
        ...found.map(({ definition, variable, text }) => [definition.name, variable, maskValue(text)]),
      ]),
    );
    return;
  }
  const reporter = createReporter({ quiet: false, verbose: false });
  const client = await connect();
  for (const { definition, variable, text } of found) {
    const { name } = definition;
    // One after the other: each may ask.
    // oxlint-disable-next-line no-await-in-loop
    if (!(await mayReplace(client, scope, name, flags.force === true))) continue;
    // oxlint-disable-next-line no-await-in-loop -- as above
    const result = await client.ask<StoredSecretResult>({
      method: 'PUT',
      path: secretPath(scope, name),
      body: { kind: 'service', value: text },
    });
    for (const notice of result.notices) reporter.notice(notice);
    process.stdout.write(
      `${result.created ? 'stored' : 'replaced'} ${name} of ${variable} for ${describeScope(scope)}: ${result.secret.mask ?? ''}\n`,
    );
  }
}

/** In the environment alone: no program of the host is asked for what nobody has named. */
function look(definition: ServiceDefinition): Found | null {
  const found = credentialInEnvironment(definition, process.env);
  return found === null ? null : { definition, ...found };
}

async function requireKey(name: string): Promise<Found> {
  const definition = findService(name);
  if (definition === undefined) {
    throw new SallyportError(
      'SERVICE_UNKNOWN',
      `There is no service ${JSON.stringify(name)}. There are: ${SERVICES.map((service) => service.name).join(', ')}.`,
    );
  }
  const found = await findServiceKey(definition, process.env);
  if (found !== null) return { definition, variable: found.origin, text: found.text };
  throw new SallyportError(
    'SECRET_SOURCE_UNSET',
    `The service ${name}: none of its variables is set in this environment: ${definition.variables.map((variable) => variable.name).join(', ')}.`,
  );
}
