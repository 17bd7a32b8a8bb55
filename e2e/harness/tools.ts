import { accessSync, constants, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from './caller.ts';

/** Where a sandbox without an image looks for programs. */
export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The first executable of that name on a search path, links resolved; undefined when there is none. */
export function findProgram(name: string, searchPath: string = SYSTEM_PATH): string | undefined {
  for (const directory of searchPath.split(':')) {
    if (directory === '') continue;
    try {
      const path = join(directory, name);
      accessSync(path, constants.X_OK);
      return realpathSync(path);
    } catch {
      continue;
    }
  }
  return undefined;
}

/** Why the host's program cannot be run inside a sandbox that sees the host's `/usr`; undefined when it can. */
export function whyNotInside(name: string): string | undefined {
  const path = findProgram(name);
  if (path === undefined) return `"${name}" is not installed in the system's directories`;
  return path.startsWith('/usr/') ? undefined : `"${name}" is ${path}, which lies outside /usr`;
}

/** A Node for the inside: the host's own one, never the checkout's (a sandbox may not see Sallyport's installation). */
export function findHostNode(): string | undefined {
  const outside = (process.env['PATH'] ?? '').split(':').filter((directory) => !directory.startsWith(`${CHECKOUT}/`));
  const found = findProgram('node') ?? findProgram('node', outside.join(':'));
  return found?.startsWith(`${CHECKOUT}/`) === true ? undefined : found;
}
