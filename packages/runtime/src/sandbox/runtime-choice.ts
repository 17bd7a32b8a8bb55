import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { findTool, missingTools } from '../airlock/required-tools.ts';

/** An OCI runtime on this machine, and how it differs. */
export interface RuntimeChoice {
  readonly name: string;
  /** Absolute path of the executable. */
  readonly path: string;
  /** Arguments before the command (`run`, `kill`). */
  readonly globalArguments: readonly string[];
  /**
   * Whether the runtime stands between the command's standard streams and its own by pipes. Where it does not, this
   * process does for files and terminals, so that no open file of the host's is ever inside.
   */
  readonly copiesStreams: boolean;
  readonly notices: readonly string[];
}

/** Runtimes that are known by name. */
const KNOWN_RUNTIMES = ['runc', 'crun', 'runsc'] as const;
type KnownRuntime = (typeof KNOWN_RUNTIMES)[number];

/**
 * Finds the OCI runtime: `runc` (the default), `crun`, `runsc`, or the path of another.
 *
 * `crun` is asked whether it starts here at all: old versions refuse a mixture of control group versions. Then `runc`
 * takes its place, with a notice.
 *
 * @param directory where a relative path starts.
 * @throws SallyportError `RUNTIME_UNKNOWN` for a name or path that is none; `TOOL_MISSING` for one that is not installed.
 */
export function chooseRuntime(
  requested: string,
  directory: string,
  find = findTool,
  mountinfo = readMountinfo(),
): RuntimeChoice {
  if (requested.includes('/')) return fromPath(requested, directory);
  const known = KNOWN_RUNTIMES.find((name) => name === requested);
  const installed = KNOWN_RUNTIMES.filter((name) => find(name) !== undefined);
  const list = installed.length > 0 ? `Installed here: ${installed.join(', ')}` : 'None is installed here';
  if (known === undefined) {
    throw new SallyportError(
      'RUNTIME_UNKNOWN',
      `There is no OCI runtime ${JSON.stringify(requested)}. Use ${KNOWN_RUNTIMES.join(', ')}, or a path with a slash. ${list}.`,
    );
  }
  const path = find(known);
  if (path === undefined) {
    if (known !== 'runsc') throw missingTools([known]);
    throw new SallyportError(
      'TOOL_MISSING',
      `runsc is not installed. See https://gvisor.dev/docs/user_guide/install/. ${list}.`,
    );
  }
  if (known === 'crun' && hasHybridCgroups(mountinfo)) {
    const runc = find('runc');
    if (runc !== undefined) {
      return {
        ...describe('runc', runc),
        notices: ['crun does not start on a machine with both versions of control groups: runc is used instead.'],
      };
    }
  }
  return describe(known, path);
}

function describe(name: KnownRuntime, path: string): RuntimeChoice {
  switch (name) {
    case 'runc':
      return { name, path, globalArguments: ['--log-format=json'], copiesStreams: true, notices: [] };
    case 'crun':
      return {
        name,
        path,
        globalArguments: ['--log-format=json', '--cgroup-manager=disabled'],
        copiesStreams: false,
        notices: [],
      };
    case 'runsc':
      // The network is the room's, by the specification's namespace: the gate's doors, not the host's.
      return {
        name,
        path,
        globalArguments: [
          '--log-format=json',
          '--network=host',
          '--platform=systrap',
          '--ignore-cgroups',
          '--rootless',
        ],
        copiesStreams: false,
        notices: [],
      };
    default:
      return name satisfies never;
  }
}

function fromPath(requested: string, directory: string): RuntimeChoice {
  const path = isAbsolute(requested) ? requested : resolve(directory, requested);
  try {
    accessSync(path, constants.X_OK);
    if (!statSync(path).isFile()) throw new Error('not a file');
  } catch (cause) {
    throw new SallyportError(
      'RUNTIME_UNKNOWN',
      `${JSON.stringify(path)} is not an executable file, and so not an OCI runtime.`,
      {
        cause,
      },
    );
  }
  const known = KNOWN_RUNTIMES.find((name) => name === basename(path));
  // An unknown one gets only the arguments that all have in common.
  return known === undefined
    ? { name: basename(path), path, globalArguments: [], copiesStreams: false, notices: [] }
    : describe(known, path);
}

function hasHybridCgroups(mountinfo: string): boolean {
  return / - cgroup /.test(mountinfo) && / - cgroup2 /.test(mountinfo);
}

function readMountinfo(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'latin1');
  } catch {
    return '';
  }
}
