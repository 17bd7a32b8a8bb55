import { readFileSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';

/** One rule of the OCI runtime specification's `linux.seccomp.syscalls`. */
export interface SyscallRule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  readonly errnoRet?: number;
  readonly args?: readonly SyscallArgument[];
}

export interface SyscallArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

/** The OCI runtime specification's `linux.seccomp`. */
export interface SeccompFilter {
  readonly defaultAction: 'SCMP_ACT_ERRNO';
  readonly defaultErrnoRet: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly SyscallRule[];
}

/** A profile as `containers-common` ships it (and Docker): rules that depend on capabilities, architecture and kernel. */
interface ProfileRule {
  readonly names?: readonly string[];
  readonly name?: string;
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SyscallArgument[] | null;
  readonly includes?: ProfileCondition;
  readonly excludes?: ProfileCondition;
}

interface ProfileCondition {
  readonly caps?: readonly string[];
  readonly arches?: readonly string[];
  readonly minKernel?: string;
}

const EPERM = 1;
const ENOSYS = 38;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;

const ARCHITECTURES = new Map([
  ['x64', { seccomp: 'SCMP_ARCH_X86_64', profile: 'amd64' }],
  ['arm64', { seccomp: 'SCMP_ARCH_AARCH64', profile: 'arm64' }],
]);

/** Allowed by common profiles, and refused here: nothing in a sandbox without capabilities needs them. */
const REFUSED: readonly string[] = [
  // Mounts and namespaces.
  ...['mount', 'umount', 'umount2', 'pivot_root', 'setns', 'chroot', 'open_tree', 'move_mount', 'mount_setattr'],
  ...['fsopen', 'fsmount', 'fsconfig', 'fspick', 'open_by_handle_at'],
  // Keyrings are not bound to a namespace in every kernel.
  ...['keyctl', 'add_key', 'request_key'],
  // Large parts of the kernel that are reached without any privilege.
  ...['bpf', 'perf_event_open', 'userfaultfd', 'modify_ldt', 'vmsplice'],
  // The machine itself.
  ...['kexec_load', 'kexec_file_load', 'reboot', 'swapon', 'swapoff', 'syslog', 'acct', 'quotactl', 'quotactl_fd'],
  ...['init_module', 'finit_module', 'delete_module', 'iopl', 'ioperm', 'settimeofday', 'clock_settime'],
  ...['sethostname', 'setdomainname', 'vhangup', 'lookup_dcookie', 'nfsservctl', 'uselib', 'sysfs', '_sysctl'],
];

/** Refused as if this kernel did not have them: programs then use the older call, which can be checked. */
const ABSENT: readonly string[] = [
  // Their flags lie behind a pointer, where no filter can look.
  ...['clone3', 'openat2'],
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NAMESPACES = 0x7e02_0000;
const CLONE_NEWUSER = 0x1000_0000;
/** S_ISUID and S_ISGID. */
const SET_ID_BITS = 0o6000;
/** O_CREAT and O_TMPFILE's own bit: the flags with which `open` reads its mode argument. */
const CREATING_FLAGS = 0x40_0040;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

/** Default, ICMP, TCP, UDP, ICMPv6: any other would have the host load a kernel module that nothing here can use. */
const INTERNET_PROTOCOLS = [0, 1, 6, 17, 58];

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;

/** System calls that create or change a file's mode, and which argument the mode is. */
const MODE_ARGUMENTS: readonly (readonly [string, number])[] = [
  ['chmod', 1],
  ['fchmod', 1],
  ['fchmodat', 2],
  ['fchmodat2', 2],
  ['creat', 1],
  ['mknod', 1],
  ['mknodat', 2],
];

/** `open` and `openat`: flags argument and mode argument. */
const OPEN_ARGUMENTS: readonly (readonly [string, number, number])[] = [
  ['open', 1, 2],
  ['openat', 2, 3],
];

/**
 * Resolves a common seccomp profile for a process without any capability on this architecture, and tightens it:
 *
 * - no mounts, namespaces, keyrings, io_uring, bpf, userfaultfd, kernel and machine control ({@link REFUSED});
 * - `unshare` only for a user namespace: the step by which the command takes on its user id; the airlock's limit of user
 *   namespaces refuses any later one;
 * - sockets of the families UNIX, IPv4 and IPv6 (TCP, UDP, ICMP), and netlink for routing questions (`getifaddrs`) only;
 * - no set-user-id or set-group-id file can be made: the workspace's owner outside, possibly root, would own it;
 * - no terminal input injection (TIOCSTI, TIOCLINUX);
 * - no 32-bit system calls, which would need a second set of all these checks.
 *
 * With `joinsUserNamespace`, for a container in which commands are executed later, `setns` into a user namespace passes: their first step.
 * The kernel lets nobody join one without every right over it, and in the sandbox there is none but the command's own.
 *
 * `ptrace` stays: a debugger reaches only processes of the same sandbox and user.
 *
 * @throws SallyportError `SANDBOX_FAILED` for an architecture or a profile that is not understood.
 */
export function resolveSeccomp(
  profile: unknown,
  machine: { readonly arch: string; readonly kernel: string },
  options: { readonly joinsUserNamespace?: boolean } = {},
): SeccompFilter {
  const architecture = ARCHITECTURES.get(machine.arch);
  const { defaultAction, syscalls } = (profile ?? {}) as { defaultAction?: unknown; syscalls?: unknown };
  if (architecture === undefined)
    throw failure(`There is no filter for the architecture ${JSON.stringify(machine.arch)}`);
  if (defaultAction !== 'SCMP_ACT_ERRNO' || !Array.isArray(syscalls))
    throw failure('The seccomp profile is not a list of what is allowed');

  const rules: SyscallRule[] = [];
  const ours = new Set([
    ...REFUSED,
    ...ABSENT,
    ...['unshare', 'clone', 'socket', 'ioctl'],
    ...MODE_ARGUMENTS.map(([name]) => name),
    ...OPEN_ARGUMENTS.map(([name]) => name),
  ]);
  const allowed = new Set<string>();
  for (const rule of syscalls as ProfileRule[]) {
    if (!applies(rule, architecture.profile, machine.kernel)) continue;
    const names = (rule.names ?? (rule.name === undefined ? [] : [rule.name])).filter((name) => !ours.has(name));
    if (names.length === 0) continue;
    if (rule.action === 'SCMP_ACT_ALLOW') {
      const args = (rule.args ?? []).map((arg) => ({ ...arg }));
      rules.push(args.length > 0 ? { names, action: 'SCMP_ACT_ALLOW', args } : { names, action: 'SCMP_ACT_ALLOW' });
      for (const name of names) allowed.add(name);
    } else if (rule.action === 'SCMP_ACT_ERRNO') {
      const refused = names.filter((name) => !allowed.has(name));
      if (refused.length > 0)
        rules.push({ names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: rule.errnoRet ?? EPERM });
    }
    // Any other action (log, trace, notify) lets a call through or needs a listener: left to the default, refusal.
  }
  const refused = options.joinsUserNamespace === true ? REFUSED.filter((name) => name !== 'setns') : REFUSED;
  if (options.joinsUserNamespace === true) rules.push(...joiningRules());
  rules.push({ names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM });
  rules.push({ names: ABSENT, action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
  rules.push(...namespaceRules(), ...socketRules(), ...terminalRules(), ...setIdRules());
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: [architecture.seccomp],
    syscalls: rules,
  };
}

const allow = (name: string, ...args: SyscallArgument[]): SyscallRule => ({
  names: [name],
  action: 'SCMP_ACT_ALLOW',
  args,
});
const refuse = (name: string, errnoRet: number, ...args: SyscallArgument[]): SyscallRule => ({
  names: [name],
  action: 'SCMP_ACT_ERRNO',
  errnoRet,
  args,
});
const masked = (index: number, mask: number, value: number): SyscallArgument => ({
  index,
  value: mask,
  valueTwo: value,
  op: 'SCMP_CMP_MASKED_EQ',
});
const compare = (index: number, op: string, value: number): SyscallArgument => ({ index, value, op });

function namespaceRules(): SyscallRule[] {
  const rules = [
    allow('unshare', compare(0, 'SCMP_CMP_EQ', CLONE_NEWUSER)),
    refuse('unshare', EPERM, compare(0, 'SCMP_CMP_NE', CLONE_NEWUSER)),
    allow('clone', masked(0, CLONE_NAMESPACES, 0)),
  ];
  for (let bit = 1; bit <= CLONE_NAMESPACES; bit *= 2) {
    if ((CLONE_NAMESPACES & bit) !== 0) rules.push(refuse('clone', EPERM, masked(0, bit, bit)));
  }
  return rules;
}

function joiningRules(): SyscallRule[] {
  return [
    allow('setns', compare(1, 'SCMP_CMP_EQ', CLONE_NEWUSER)),
    refuse('setns', EPERM, compare(1, 'SCMP_CMP_NE', CLONE_NEWUSER)),
  ];
}

function socketRules(): SyscallRule[] {
  const rules = [allow('socket', compare(0, 'SCMP_CMP_EQ', AF_UNIX))];
  for (const family of [AF_INET, AF_INET6]) {
    const ofFamily = compare(0, 'SCMP_CMP_EQ', family);
    for (const protocol of INTERNET_PROTOCOLS)
      rules.push(allow('socket', ofFamily, compare(2, 'SCMP_CMP_EQ', protocol)));
    rules.push(refuse('socket', EPROTONOSUPPORT, ofFamily, compare(2, 'SCMP_CMP_GT', Math.max(...INTERNET_PROTOCOLS))));
  }
  // NETLINK_ROUTE is protocol 0.
  const netlink = compare(0, 'SCMP_CMP_EQ', AF_NETLINK);
  rules.push(allow('socket', netlink, compare(2, 'SCMP_CMP_EQ', 0)));
  rules.push(refuse('socket', EAFNOSUPPORT, netlink, compare(2, 'SCMP_CMP_NE', 0)));
  for (let family = 0; family < AF_NETLINK; family++) {
    if (family === AF_UNIX || family === AF_INET || family === AF_INET6) continue;
    rules.push(refuse('socket', EAFNOSUPPORT, compare(0, 'SCMP_CMP_EQ', family)));
  }
  rules.push(refuse('socket', EAFNOSUPPORT, compare(0, 'SCMP_CMP_GT', AF_NETLINK)));
  return rules;
}

function terminalRules(): SyscallRule[] {
  // The kernel reads 32 bits of the request number, a comparison of 64 could be evaded by setting a higher one
  // (CVE-2019-10063): so what is allowed is spelt out as bit patterns that cover everything but the two.
  const requests = [TIOCSTI, TIOCLINUX];
  return [
    ...complementPatterns(requests).map(({ mask, value }) => allow('ioctl', masked(1, mask, value))),
    ...requests.map((request) => refuse('ioctl', EPERM, masked(1, 0xffff_ffff, request))),
  ];
}

function setIdRules(): SyscallRule[] {
  const rules: SyscallRule[] = [];
  const bits = [0o4000, 0o2000];
  for (const [name, mode] of MODE_ARGUMENTS) {
    rules.push(allow(name, masked(mode, SET_ID_BITS, 0)));
    for (const bit of bits) rules.push(refuse(name, EPERM, masked(mode, bit, bit)));
  }
  for (const [name, flags, mode] of OPEN_ARGUMENTS) {
    // Without a creating flag the kernel ignores the mode, and callers leave anything in that register.
    rules.push(allow(name, masked(flags, CREATING_FLAGS, 0)), allow(name, masked(mode, SET_ID_BITS, 0)));
  }
  return rules;
}

/** Disjoint patterns of 32 bits that match every number except those given. */
export function complementPatterns(excluded: readonly number[]): { readonly mask: number; readonly value: number }[] {
  const patterns: { mask: number; value: number }[] = [];
  const visit = (bit: number, mask: number, value: number, inside: readonly number[]): void => {
    if (inside.length === 0) {
      patterns.push({ mask, value });
      return;
    }
    if (bit < 0) return;
    const weight = 2 ** bit;
    for (const branch of [0, 1]) {
      const matching = inside.filter((number) => Math.floor(number / weight) % 2 === branch);
      visit(bit - 1, mask + weight, value + branch * weight, matching);
    }
  };
  visit(31, 0, 0, excluded);
  return patterns;
}

function applies(rule: ProfileRule, arch: string, kernel: string): boolean {
  const { includes, excludes } = rule;
  // The sandbox has no capability: a rule for holders of one never applies.
  if ((includes?.caps ?? []).length > 0) return false;
  if ((includes?.arches ?? []).length > 0 && !includes?.arches?.includes(arch)) return false;
  if (includes?.minKernel !== undefined && !isKernelAtLeast(kernel, includes.minKernel)) return false;
  if ((excludes?.arches ?? []).includes(arch)) return false;
  if (excludes?.minKernel !== undefined && isKernelAtLeast(kernel, excludes.minKernel)) return false;
  return true;
}

function isKernelAtLeast(kernel: string, minimum: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  const [minMajor = 0, minMinor = 0] = minimum.split('.').map((part) => Number.parseInt(part, 10));
  return major !== minMajor ? major > minMajor : minor >= minMinor;
}

function failure(what: string): SallyportError {
  return new SallyportError('SANDBOX_FAILED', `${what}. Without a system call filter no sandbox is started.`);
}

/** Where `containers-common` and its relatives put the profile; an administrator's own comes first. */
export const SECCOMP_PROFILE_PATHS = ['/etc/containers/seccomp.json', '/usr/share/containers/seccomp.json'] as const;

/**
 * Reads this machine's common seccomp profile.
 *
 * @throws SallyportError `TOOL_MISSING` when there is none: the sandbox is not started without.
 */
export function readSeccompProfile(paths: readonly string[] = SECCOMP_PROFILE_PATHS): unknown {
  for (const path of paths) {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      continue;
    }
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new SallyportError(
        'SANDBOX_FAILED',
        `The seccomp profile ${JSON.stringify(path)} is not JSON. Repair or remove it.`,
        {
          cause,
        },
      );
    }
  }
  throw new SallyportError(
    'TOOL_MISSING',
    `No seccomp profile is installed (${paths.join(', ')}). Install it: ` +
      '"apt-get install golang-github-containers-common" (Debian, Ubuntu), "dnf install containers-common" (Fedora), ' +
      '"apk add containers-common" (Alpine).',
  );
}
