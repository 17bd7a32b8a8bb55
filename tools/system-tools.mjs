// The programs and files of the system that Sallyport and its tests need: looked up by `stat`, named by package.
import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {'apt' | 'dnf' | 'apk' | 'pacman'} Manager
 * @typedef {object} Tool One need. It is met when any of `commands` is in PATH, or any of `files` exists.
 * @property {string} name What people call it.
 * @property {string[]} [commands]
 * @property {boolean} [inside] Sandboxes run it: it counts only in the directories that they see, not anywhere in PATH.
 * @property {string[]} [files] Absolute paths; one part may hold a `*`.
 * @property {Record<Manager, string[]>} packages By package manager; for apt, the first one that the release has.
 */

/** Where administrators' tools live that an ordinary user's PATH leaves out. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** @type {(apt: string | string[], dnf?: string, apk?: string, pacman?: string) => Record<Manager, string[]>} */
function packages(apt, dnf, apk, pacman) {
  const names = Array.isArray(apt) ? apt : [apt];
  const first = names[0] ?? '';
  return { apt: names, dnf: [dnf ?? first], apk: [apk ?? first], pacman: [pacman ?? first] };
}

/** @type {Tool[]} What `sallyport` needs; `conmon` is for sandboxes that live on. */
const CORE = [
  { name: 'an OCI runtime (runc, crun or runsc)', commands: ['runc', 'crun', 'runsc'], packages: packages('runc') },
  { name: 'ip', commands: ['ip'], packages: packages('iproute2', 'iproute') },
  { name: 'unshare', commands: ['unshare'], packages: packages('util-linux') },
  { name: 'nsenter', commands: ['nsenter'], packages: packages('util-linux') },
  { name: 'mount', commands: ['mount'], packages: packages('mount', 'util-linux', 'mount', 'util-linux') },
  { name: 'openssl', commands: ['openssl'], packages: packages('openssl') },
  { name: 'tini', commands: ['tini'], inside: true, packages: packages('tini') },
  { name: 'conmon', commands: ['conmon'], packages: packages('conmon') },
  {
    name: 'the common seccomp profile',
    files: ['/usr/share/containers/seccomp.json', '/etc/containers/seccomp.json'],
    packages: packages(
      ['golang-github-containers-common', 'containers-common'],
      'containers-common',
      'containers-common',
      'containers-common',
    ),
  },
  {
    name: 'the root certificates',
    files: ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem'],
    packages: packages('ca-certificates'),
  },
];

/** @type {Tool[]} What the demo's clients add. */
const DEMO = [
  { name: 'curl', commands: ['curl'], inside: true, packages: packages('curl') },
  { name: 'git', commands: ['git'], inside: true, packages: packages('git') },
  {
    name: 'python3',
    commands: ['python3'],
    inside: true,
    packages: packages('python3', 'python3', 'python3', 'python'),
  },
];

/** @type {Tool[]} What the end-to-end tests add. */
const TEST = [
  { name: 'wget', commands: ['wget'], inside: true, packages: packages('wget') },
  {
    name: "Python's requests",
    files: [
      '/usr/lib/python3/dist-packages/requests/__init__.py',
      '/usr/lib/python3*/site-packages/requests/__init__.py',
    ],
    packages: packages('python3-requests', 'python3-requests', 'py3-requests', 'python-requests'),
  },
  {
    name: 'git http-backend',
    files: ['/usr/lib/git-core/git-http-backend', '/usr/libexec/git-core/git-http-backend'],
    packages: packages('git', 'git', 'git-daemon', 'git'),
  },
  {
    name: 'go',
    commands: ['go'],
    files: ['/usr/local/go/bin/go'],
    packages: packages(['golang-go', 'golang'], 'golang', 'go', 'go'),
  },
  {
    name: 'a JDK',
    commands: ['javac'],
    files: ['/usr/lib/jvm/*/bin/javac'],
    packages: packages('default-jdk-headless', 'java-latest-openjdk-headless', 'openjdk21', 'jdk-openjdk'),
  },
  { name: 'zsh', commands: ['zsh'], packages: packages('zsh') },
  { name: 'fish', commands: ['fish'], packages: packages('fish') },
  { name: 'ping', commands: ['ping'], packages: packages('iputils-ping', 'iputils', 'iputils-ping', 'iputils') },
  { name: 'ps', commands: ['ps'], packages: packages('procps', 'procps-ng', 'procps', 'procps-ng') },
  { name: 'a D-Bus session', commands: ['dbus-run-session'], packages: packages('dbus', 'dbus-daemon') },
  { name: 'gnome-keyring', commands: ['gnome-keyring-daemon'], packages: packages('gnome-keyring') },
  {
    name: 'secret-tool',
    commands: ['secret-tool'],
    packages: packages('libsecret-tools', 'libsecret', 'libsecret', 'libsecret'),
  },
  { name: 'setpriv', commands: ['setpriv'], packages: packages('util-linux', 'util-linux', 'setpriv') },
  { name: 'runuser', commands: ['runuser'], packages: packages('util-linux', 'util-linux', 'runuser') },
];

/** @type {Record<string, Tool[]>} Tasks that are not here need no tool of the system. */
const TOOLS_OF_TASK = {
  cli: CORE,
  demo: [...CORE, ...DEMO],
  e2e: [...CORE, ...DEMO, ...TEST],
  test: [...CORE, ...DEMO, ...TEST],
  ci: [...CORE, ...DEMO, ...TEST],
  clients: [...CORE, ...DEMO, ...TEST],
};

/** @param {string} file @returns {boolean} */
function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** @param {string} pattern A path with at most one `*` (`fs.globSync` came after Node 20). @returns {boolean} */
function matchesFile(pattern) {
  const star = pattern.indexOf('*');
  if (star === -1) return existsSync(pattern);
  const directory = pattern.slice(0, pattern.lastIndexOf('/', star));
  const end = pattern.indexOf('/', star);
  const prefix = pattern.slice(directory.length + 1, star);
  const suffix = pattern.slice(star + 1, end === -1 ? pattern.length : end);
  const rest = end === -1 ? '' : pattern.slice(end);
  if (!existsSync(directory)) return false;
  return readdirSync(directory).some(
    (name) => name.startsWith(prefix) && name.endsWith(suffix) && existsSync(`${directory}/${name}${rest}`),
  );
}

/**
 * The absolute path of a command, or undefined.
 * @param {string} command
 * @param {string} path The PATH to look along, the system's own directories come after it.
 * @param {string} root Put before every directory; empty but in tests.
 */
export function findCommand(command, path, root = '') {
  for (const directory of [...path.split(':'), ...SYSTEM_PATH]) {
    if (!directory.startsWith('/')) continue;
    const file = join(root, directory, command);
    if (isExecutable(file)) return file;
  }
  return undefined;
}

/**
 * The tools that `task` needs and that are not there.
 * @param {string} task @param {string} path @param {string} root @returns {Tool[]}
 */
export function findMissingTools(task, path, root = '') {
  const wanted = TOOLS_OF_TASK[task] ?? [];
  return wanted.filter(
    (tool) =>
      !(tool.commands ?? []).some(
        (command) => findCommand(command, tool.inside === true ? '' : path, root) !== undefined,
      ) && !(tool.files ?? []).some((file) => matchesFile(root + file)),
  );
}

/**
 * The package manager of this machine.
 * @param {string} path @param {string} root
 * @returns {{ manager: Manager, command: string } | undefined}
 */
export function findPackageManager(path, root = '') {
  /** @type {[Manager, string][]} */
  const known = [
    ['apt', 'apt-get'],
    ['dnf', 'dnf'],
    ['apk', 'apk'],
    ['pacman', 'pacman'],
  ];
  for (const [manager, name] of known) {
    const command = findCommand(name, path, root);
    if (command !== undefined) return { manager, command };
  }
  return undefined;
}

/**
 * The packages that bring `tools`, each once.
 * @param {Tool[]} tools @param {Manager} manager
 * @param {(name: string) => boolean} isKnown Whether the release has a package of that name.
 */
export function packagesFor(tools, manager, isKnown) {
  const names = tools.map(({ packages: byManager }) => {
    const candidates = byManager[manager];
    return candidates.length > 1 ? (candidates.find(isKnown) ?? candidates[0]) : candidates[0];
  });
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}

/**
 * The one command that an administrator types.
 * @param {string[]} names @param {Manager} manager
 */
export function adminCommand(names, manager) {
  const list = names.join(' ');
  switch (manager) {
    case 'apt':
      return `apt-get update && apt-get install -y --no-install-recommends ${list}`;
    case 'dnf':
      return `dnf install -y ${list}`;
    case 'apk':
      return `apk add ${list}`;
    case 'pacman':
      return `pacman -S --needed ${list}`;
  }
}

const APT_LISTS_MAX_AGE_MS = 24 * 60 * 60 * 1000;

/**
 * Whether apt knows no packages, or what it knows is older than a day.
 * @param {number} nowMs @param {string} root
 */
export function areAptListsStale(nowMs, root = '') {
  const lists = `${root}/var/lib/apt/lists`;
  try {
    if (!readdirSync(lists).some((name) => name.includes('_Packages'))) return true;
    const newest = Math.max(
      ...[lists, `${lists}/partial`].map((directory) => (existsSync(directory) ? statSync(directory).mtimeMs : 0)),
    );
    return nowMs - newest > APT_LISTS_MAX_AGE_MS;
  } catch {
    return true;
  }
}
