import { existsSync } from 'node:fs';
import { BUNDLE_VARIABLES } from './ca-trust.ts';
import type { Identity } from './identity.ts';

/** Variables of the caller that say how to show text, and nothing about whom or where: passed on when set. */
const PASSED_ON = ['LANG', 'LC_ALL', 'LC_CTYPE', 'TZ'] as const;
const PASSED_ON_TO_TERMINALS = ['TERM', 'COLORTERM'] as const;

/** The environment that every sandbox begins with; nothing else of the caller's own gets in. */
export function baseEnvironment(
  identity: Identity,
  name: string,
  terminal: boolean,
  caller: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: identity.home,
    USER: identity.userName,
    LOGNAME: identity.userName,
    SHELL: existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh',
    SALLYPORT_SANDBOX: name,
  };
  for (const variable of [...PASSED_ON, ...(terminal ? PASSED_ON_TO_TERMINALS : [])]) {
    const value = caller[variable];
    // A value with anything else is no locale, zone or terminal name.
    if (value !== undefined && /^[\w@./:+-]{1,64}$/.test(value)) environment[variable] = value;
  }
  if (terminal) environment['TERM'] ??= 'xterm';
  return environment;
}

/** What the sandbox, its loader and the clients in it find their way by. */
const OWN_VARIABLES: ReadonlySet<string> = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'SALLYPORT_SANDBOX', 'LD_PRELOAD', 'LD_LIBRARY_PATH'],
  ...BUNDLE_VARIABLES,
]);

/** Whether a variable is the sandbox's own: with a placeholder in it, commands or their TLS would fail. */
export function isSandboxVariable(name: string): boolean {
  return OWN_VARIABLES.has(name);
}
