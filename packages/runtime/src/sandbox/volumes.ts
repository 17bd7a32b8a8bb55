import { isAbsolute, normalize, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';

/** A host file or directory to be seen inside, as asked for; not checked against the host yet. */
export interface Volume {
  /** Absolute path on the host. */
  readonly source: string;
  /** Absolute path inside. */
  readonly destination: string;
  readonly readOnly: boolean;
}

/** What the sandbox itself provides: a volume there would undo it. */
const RESERVED_DESTINATIONS = [
  '/proc',
  '/sys',
  '/dev',
  '/run',
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
];

/**
 * Parses `SRC:DST[:ro|rw]`. A relative SRC starts at `directory`; DST is absolute. A colon in a path cannot be written.
 *
 * @throws SallyportError `INVALID_MOUNT`.
 */
export function parseVolume(text: string, directory: string): Volume {
  const [source, destination, mode, ...rest] = text.split(':');
  if (source === undefined || source === '' || destination === undefined || rest.length > 0 || text.includes('\0')) {
    throw invalid(text, 'Write SRC:DST or SRC:DST:ro');
  }
  if (mode !== undefined && mode !== 'ro' && mode !== 'rw') throw invalid(text, 'The last part may be "ro" or "rw"');
  if (!isAbsolute(destination)) throw invalid(text, 'The path inside (DST) must begin with "/"');
  const inside = withoutTrailingSlash(normalize(destination));
  if (inside === '/' || inside === '/tmp')
    throw invalid(text, `${JSON.stringify(inside)} is the sandbox's own; choose a folder below it`);
  for (const reserved of RESERVED_DESTINATIONS) {
    if (isWithin(inside, reserved)) throw invalid(text, `${reserved} inside is the sandbox's own; choose another path`);
  }
  return { source: withoutTrailingSlash(resolve(directory, source)), destination: inside, readOnly: mode === 'ro' };
}

/** Whether `path` is `folder` or lies in it; both absolute and normalized. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}

function withoutTrailingSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

function invalid(text: string, remedy: string): SallyportError {
  return new SallyportError('INVALID_MOUNT', `The volume ${JSON.stringify(text)} cannot be mounted. ${remedy}.`);
}
