import { readFileSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';

/** Reads a small file, or says that it is absent; an argument so that tests can describe any machine. */
export type ReadSetting = (path: string) => string | undefined;

const NAMESPACE_LIMITS = ['user', 'mnt', 'net', 'pid', 'ipc', 'uts', 'cgroup'] as const;

/** What {@link NAMESPACE_LIMITS} are set to when a machine merely has the default: thousands. */
const ENOUGH_NAMESPACES = 16;

/**
 * Why this machine refuses user namespaces to this caller, and how to change it; `undefined` when no setting explains it.
 *
 * @param isRoot whether the caller's effective uid is 0: two of the settings bind ordinary users only.
 */
export function explainForbiddenNamespaces(isRoot: boolean, read: ReadSetting = readSetting): string | undefined {
  if (read('/proc/self/uid_map') === undefined) {
    return 'This kernel is built without user namespaces (CONFIG_USER_NS). Boot a kernel that has them.';
  }
  for (const kind of NAMESPACE_LIMITS) {
    const limit = read(`/proc/sys/user/max_${kind}_namespaces`);
    if (limit !== undefined && Number(limit) < ENOUGH_NAMESPACES) {
      return (
        `The setting user.max_${kind}_namespaces is ${limit}. ` +
        `Raise it: "sysctl -w user.max_${kind}_namespaces=10000" as root, and keep it in /etc/sysctl.d/.`
      );
    }
  }
  if (!isRoot && read('/proc/sys/kernel/unprivileged_userns_clone') === '0') {
    return (
      'The setting kernel.unprivileged_userns_clone is 0. ' +
      'Allow it: "sysctl -w kernel.unprivileged_userns_clone=1" as root, and keep it in /etc/sysctl.d/.'
    );
  }
  if (!isRoot && read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return (
      'The setting kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 23.10 and later). Allow it: ' +
      '"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" as root, and keep it in /etc/sysctl.d/; ' +
      'or give /usr/bin/unshare and the OCI runtime an AppArmor profile that permits "userns".'
    );
  }
  const seccompMode = /^Seccomp:\s*(\d)/m.exec(read('/proc/self/status') ?? '')?.[1];
  if (seccompMode === '2') {
    return (
      'This process is itself in a container whose seccomp filter forbids new namespaces. Start that container with a ' +
      'profile that allows them (Docker: "--security-opt seccomp=unconfined --security-opt apparmor=unconfined ' +
      '--security-opt systempaths=unconfined"), or run Sallyport outside.'
    );
  }
  return undefined;
}

/**
 * The error for a failed attempt to make the airlock's namespaces.
 *
 * `USER_NAMESPACES_FORBIDDEN` where a setting explains the failure, else `AIRLOCK_FAILED` with what the tool said.
 */
export function namespaceFailure(toolSaid: string, isRoot: boolean, read: ReadSetting = readSetting): SallyportError {
  const said = printable(toolSaid);
  if (/permitted|denied|No space left|Invalid argument|unshare failed/i.test(said)) {
    const reason = explainForbiddenNamespaces(isRoot, read);
    if (reason !== undefined) {
      return new SallyportError(
        'USER_NAMESPACES_FORBIDDEN',
        `Sandboxes need user namespaces, and this machine forbids them here. ${reason}`,
      );
    }
  }
  if (/\/proc\b.*(?:permitted|denied)/i.test(said)) {
    return new SallyportError(
      'AIRLOCK_FAILED',
      'A private /proc cannot be mounted here: this process is in a container that hides parts of /proc. ' +
        'Start that container with "--security-opt systempaths=unconfined", or run Sallyport outside.',
    );
  }
  return new SallyportError(
    'AIRLOCK_FAILED',
    `The sandbox's private network could not be set up: ${JSON.stringify(said)}. ` +
      'Check that this kernel has user, network and mount namespaces, veth devices and tmpfs.',
  );
}

const MAX_QUOTED_CHARACTERS = 600;

/** One line of printable ASCII, bounded: what a tool wrote can hold anything. */
export function printable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, MAX_QUOTED_CHARACTERS);
}

function readSetting(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}
