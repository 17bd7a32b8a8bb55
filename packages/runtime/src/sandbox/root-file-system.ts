import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { GateAddresses } from '../airlock/network.ts';
import type { Identity } from './identity.ts';
import type { StagedFile } from './staged-files.ts';

/** What a sandbox on the host's own programs sees of the host. */
export interface RootFileSystem {
  /** Laid out in the sandbox's root: directories, links, copies of small files, generated files. */
  readonly files: readonly StagedFile[];
  /** Mounted read-only from the same path of the host. */
  readonly hostDirectories: readonly string[];
}

/** Programs and libraries, seen by every sandbox. On most systems all but `/usr` are links into it. */
export const PROGRAM_DIRECTORIES = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];

/** Directories of `/etc` that are mounted, and what fails without. No credential belongs in any of them. */
const ETC_DIRECTORIES: readonly RegExp[] = [
  /^alternatives$/, // the links by which Debian chooses among programs (java, vi, awk)
  /^ld\.so\.conf\.d$/, // libraries outside of the default folders
  /^perl$/,
  /^python3(\.\d+)?$/,
  /^java-[\w.-]+$/, // OpenJDK's settings are links into it
  /^fonts$/, // fontconfig, for anything that draws
  /^terminfo$/,
  /^vim$/,
  /^bash_completion\.d$/,
];

/** Files of `/etc` that are copied. `gitconfig`, `npmrc`, `pip.conf`, `wgetrc` and the like are not: they may name credentials. */
const ETC_FILES = [
  '/etc/ld.so.cache',
  '/etc/ld.so.conf',
  '/etc/os-release',
  '/etc/lsb-release',
  '/etc/debian_version',
  '/etc/localtime',
  '/etc/timezone',
  '/etc/locale.alias',
  '/etc/locale.conf',
  '/etc/mime.types',
  '/etc/services',
  '/etc/protocols',
  '/etc/rpc',
  '/etc/ethertypes',
  '/etc/networks',
  '/etc/gai.conf',
  '/etc/host.conf',
  '/etc/bash.bashrc',
  '/etc/profile',
  '/etc/inputrc',
  '/etc/shells',
  '/etc/magic',
  '/etc/magic.mime',
  '/etc/manpath.config',
  '/etc/papersize',
  '/etc/ssl/openssl.cnf',
  '/etc/ca-certificates.conf',
  '/etc/maven/m2.conf',
  '/etc/maven/logging/simplelogger.properties',
  '/etc/chromium.d/default-flags', // Debian's Chromium does not start without a file in this folder
];

/** Below it, in `VERSION/cli/conf.d`, is which extensions Debian's PHP loads. Its `php.ini` is elsewhere, for that may name a database's password. */
const PHP_DIRECTORY = '/etc/php';

/** A copied file larger than this is not the configuration that its name promises. */
const MAX_COPIED_BYTES = 4 * 1024 * 1024;

/** Writable, empty, in memory; the home directory is one more. */
export const SCRATCH_DIRECTORIES = ['/tmp', '/var/tmp', '/run'] as const;

/** Describes the root file system of a sandbox that uses the host's programs ("no image"). */
export function describeRootFileSystem(identity: Identity, hostName: string, gate: GateAddresses): RootFileSystem {
  const files: StagedFile[] = [];
  const hostDirectories: string[] = [];
  for (const path of PROGRAM_DIRECTORIES) {
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) continue;
    if (status.isSymbolicLink()) files.push({ path, kind: 'link', target: readlinkSync(path) });
    else if (status.isDirectory()) hostDirectories.push(path);
  }
  for (const entry of readdirSync('/etc', { withFileTypes: true })) {
    if (entry.isDirectory() && ETC_DIRECTORIES.some((name) => name.test(entry.name)))
      hostDirectories.push(`/etc/${entry.name}`);
  }
  for (const path of [...ETC_FILES, ...findPhpExtensions()]) {
    const copy = copyHostFile(path);
    if (copy !== undefined) files.push(copy);
  }
  for (const path of [
    '/proc',
    '/sys',
    '/dev',
    '/home',
    '/mnt',
    '/opt',
    '/srv',
    '/var/cache',
    '/var/lib',
    '/var/log',
    identity.home,
  ]) {
    files.push({ path, kind: 'directory' });
  }
  for (const path of SCRATCH_DIRECTORIES) files.push({ path, kind: 'directory' });
  files.push({ path: '/var/run', kind: 'link', target: '/run' }, { path: '/var/lock', kind: 'link', target: '/run' });
  files.push({ path: '/etc/mtab', kind: 'link', target: '/proc/self/mounts' });
  for (const [path, content] of generatedFiles(identity, hostName, gate)) {
    files.push({ path, kind: 'file', content: Buffer.from(content) });
  }
  return { files, hostDirectories };
}

/** Files that are written for the sandbox: the host's would tell of its accounts, its names and its resolvers. */
function generatedFiles(identity: Identity, hostName: string, gate: GateAddresses): [string, string][] {
  const { uid, gid, userName, groupName, home } = identity;
  const shell = existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh';
  const nameservers = [gate.v4, ...(gate.v6 === undefined ? [] : [gate.v6])].map(
    (address) => `nameserver ${address}\n`,
  );
  return [
    [
      '/etc/passwd',
      `root:x:0:0:root:/root:/usr/sbin/nologin\n${userName}:x:${uid}:${gid}:${userName}:${home}:${shell}\n` +
        'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n',
    ],
    ['/etc/group', `root:x:0:\n${groupName}:x:${gid}:\nnogroup:x:65534:\n`],
    ['/etc/hostname', `${hostName}\n`],
    ['/etc/hosts', `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 ${hostName}\n`],
    ['/etc/resolv.conf', `${nameservers.join('')}options timeout:3 attempts:2\n`],
    [
      '/etc/nsswitch.conf',
      'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n',
    ],
  ];
}

/** Without `globSync`, which costs a start 10 ms. */
function findPhpExtensions(): string[] {
  return listDirectory(PHP_DIRECTORY).flatMap((version) => {
    const directory = join(PHP_DIRECTORY, version, 'cli', 'conf.d');
    return listDirectory(directory)
      .filter((name) => name.endsWith('.ini') && !name.startsWith('.'))
      .map((name) => join(directory, name));
  });
}

function listDirectory(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function copyHostFile(path: string): StagedFile | undefined {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  if (status.isSymbolicLink()) {
    const target = readlinkSync(path);
    // Into what the sandbox has under the same path, the link will do.
    if (target.startsWith('/usr/') || target.startsWith('../usr/')) return { path, kind: 'link', target };
  }
  // World-readable only: root's own copies are not for the sandbox.
  if (status.isFile() && (status.mode & 0o004) === 0) return undefined;
  try {
    const content = readFileSync(path);
    return content.length > MAX_COPIED_BYTES ? undefined : { path, kind: 'file', content };
  } catch {
    return undefined;
  }
}
