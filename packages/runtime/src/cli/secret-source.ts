import { SallyportError, type StoreSetting } from '@sallyport/sdk';
import { Option, type Command } from 'commander';
import { parseReference } from '../sources/reference.ts';
import { parseRefresh } from './refresh.ts';

/** Options that say where a value comes from that is not stored itself. */
export interface SourceFlags {
  readonly command?: string;
  readonly ref?: string;
  readonly refresh?: string;
  readonly verify: boolean;
  readonly showError?: boolean;
}

/** The option that says where a value is kept. */
export interface StoreFlags {
  readonly store?: StoreSetting;
}

/** Adds the options for values that are fetched when they are needed. */
export function addSourceOptions(command: Command): Command {
  return command
    .option('--command <command>', 'what this shell command prints on the host, asked when a request needs it')
    .option(
      '--ref <reference>',
      'op://VAULT/ITEM/FIELD, vault://MOUNT/PATH#KEY, aws-sm://NAME[#KEY], file:PATH or env:VAR; asked when a request needs it',
    )
    .option(
      '--refresh <duration>',
      'how long a fetched value is used, such as 30s or 1h (default: 5m); "on-demand": until an upstream refuses it',
    )
    .option('--no-verify', 'do not try the command or reference before it is stored')
    .option('--show-error', 'when it fails, show what it wrote to its standard error');
}

/** Adds the option for where a value is kept. */
export function addStoreOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--store <store>',
      'where this value is kept (default: as "secret store" says): the keychain, encrypted files, or the daemon\'s memory',
    ).choices(['auto', 'keychain', 'file', 'memory']),
  );
}

/** What the API is told of a value that is fetched; null for one that is stored. @throws SallyportError USAGE, INVALID_LIMIT, INVALID_REFERENCE */
export function readSource({ command, ref, refresh, verify, showError }: SourceFlags) {
  if (command !== undefined && ref !== undefined) {
    throw new SallyportError('USAGE', 'A value comes from one place: give --command or --ref.');
  }
  if (command !== undefined && command.trim() === '') {
    throw new SallyportError('USAGE', '--command is empty. Write the shell command that prints the value.');
  }
  if (command === undefined && ref === undefined) {
    if (refresh === undefined && verify && showError !== true) return null;
    throw new SallyportError(
      'USAGE',
      '--refresh, --no-verify and --show-error are about values that are fetched: give --command or --ref.',
    );
  }
  return {
    ...(command === undefined ? {} : { command }),
    // The daemon is in another directory.
    ...(ref === undefined ? {} : { reference: parseReference(ref, { directory: process.cwd() }).canonical }),
    ...(refresh === undefined ? {} : { refreshMs: parseRefresh(refresh) }),
    verify,
    showError: showError === true,
  };
}
