import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import { isHostRoot } from './host-root.ts';
import { namespaceFailure } from './namespace-diagnosis.ts';
import { TOOL_ENVIRONMENT } from './required-tools.ts';

/** Options of {@link Holder.enter}. */
export interface EnterOptions {
  /** As for `child_process.spawn`; default: all ignored. */
  readonly stdio?: StdioOptions;
  /** The whole environment; default: only a PATH. */
  readonly env?: Readonly<Record<string, string>>;
  /** A session (and process group) of its own, so that the terminal's signals do not reach it. Default false. */
  readonly detached?: boolean;
  /** `cgroup.procs` files that the process writes itself into before it enters, so that its whole life counts there. */
  readonly cgroupProcs?: readonly string[];
}

/** A set of namespaces, kept by a process that ends when this process does. */
export interface Holder {
  /** The holder's process id on the host. */
  readonly pid: number;
  /** The host's user id that uid 0 of the holder's user namespace is, and that everything in the sandbox runs as. */
  readonly hostUid: number;
  readonly hostGid: number;
  /** Settles when the holder and everything in its namespaces are gone, cgroup directories included. */
  readonly ended: Promise<void>;
  /**
   * Starts a program inside the namespaces, as their uid 0.
   *
   * @throws SallyportError `AIRLOCK_FAILED` when the holder is gone: its process id may be somebody else's by then.
   */
  enter(argv: readonly string[], options?: EnterOptions): ChildProcess;
  /** Ends every process in the namespaces and waits for it. Safe to call twice. */
  close(): Promise<void>;
}

/** What {@link openHolder} needs. */
export interface HolderOptions {
  readonly tools: { readonly unshare: string; readonly nsenter: string };
  /** Directories of control groups that are removed after the last process is gone. Default none. */
  readonly cgroupDirectories?: readonly string[];
}

/**
 * For root: the first host id that the sandboxes of this machine use. Far above what administrators, subordinate id ranges
 * (from 100,000) and systemd (below 1,879,048,192) hand out, and with the process ids added below 2^31 and below systemd's
 * foreign ids at 2,147,352,576.
 */
export const ROOT_HOST_ID_BASE = 2_000_000_000;

/**
 * The wrapper, a session of its own. `unshare` returns when the holder, process 1 of a process id namespace, has ended;
 * the kernel has then killed everything in there. What is left are the control groups, which are empty by then or soon.
 * A `kill -9` of this program ends the holder's standard input, and so has the same effect as `close()`.
 */
const WRAPPER_PROGRAM = `
trap '' HUP INT TERM
"$1" --user --mount --net --pid --ipc --uts --cgroup --fork --kill-child --propagation private \\
  sh -c 'read -r pid rest < /proc/self/stat && echo "$pid" && exec cat > /dev/null'
status=$?
shift
for directory in "$@"; do
  tries=0
  while [ -d "$directory" ] && ! rmdir "$directory"/*/ "$directory" 2> /dev/null && [ -d "$directory" ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
done
exit $status
`;

const CGROUP_JOIN_PROGRAM = `
while [ "$1" != -- ]; do
  echo 0 > "$1" || exit 125
  shift
done
shift
exec "$@"
`;

/** How long the processes of a closed holder may take to go before the wrapper is killed. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * Makes user, mount, network, process id, IPC, UTS and cgroup namespaces, and a process that keeps them.
 *
 * The user namespace maps one id. An ordinary caller's (and that of a rootless container's root): its own. Root's: an id that no account has, of its own for each
 * living sandbox, never the host's uid 0 (a map of 0 to 0 would leave `/proc/sys/kernel/core_pattern` writable).
 *
 * @throws SallyportError `USER_NAMESPACES_FORBIDDEN`, naming the setting; `AIRLOCK_FAILED` for anything else.
 */
export async function openHolder(options: HolderOptions): Promise<Holder> {
  const isRoot = isHostRoot();
  const wrapper = spawn(
    '/bin/sh',
    ['-c', WRAPPER_PROGRAM, 'sallyport-holder', options.tools.unshare, ...(options.cgroupDirectories ?? [])],
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { ...TOOL_ENVIRONMENT }, cwd: '/' },
  );
  let toolSaid = '';
  wrapper.stderr.setEncoding('latin1').on('data', (text: string) => (toolSaid = (toolSaid + text).slice(0, 4096)));
  wrapper.stdin.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => {
    wrapper.once('exit', () => resolve());
    wrapper.once('error', () => resolve());
  });
  const pid = await firstLine(wrapper);
  const holderPid = Number(pid);
  if (pid === undefined || !Number.isSafeInteger(holderPid) || holderPid < 2) {
    wrapper.stdin.end();
    await ended;
    throw namespaceFailure(toolSaid === '' ? 'the namespaces could not be made' : toolSaid, isRoot);
  }

  const hostUid = isRoot ? ROOT_HOST_ID_BASE + holderPid : (process.geteuid?.() ?? 0);
  const hostGid = isRoot ? ROOT_HOST_ID_BASE + holderPid : (process.getegid?.() ?? 0);
  const isAlive = () => wrapper.exitCode === null && wrapper.signalCode === null;
  let closing: Promise<void> | undefined;
  const close = async () => {
    wrapper.stdin.end();
    const timer = setTimeout(() => wrapper.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  };
  const holder: Holder = {
    pid: holderPid,
    hostUid,
    hostGid,
    ended,
    enter(argv, enterOptions = {}) {
      if (closing !== undefined || !isAlive()) {
        throw new SallyportError('AIRLOCK_FAILED', 'The sandbox has ended already. Start it again.');
      }
      return enterNamespaces(options.tools.nsenter, holderPid, isRoot, argv, enterOptions);
    },
    close: () => (closing ??= close()),
  };
  try {
    // Only a process with privilege over the parent namespace may map groups and keep setgroups(2).
    if (!isRoot) writeFileSync(`/proc/${holderPid}/setgroups`, 'deny');
    writeFileSync(`/proc/${holderPid}/uid_map`, `0 ${hostUid} 1`);
    writeFileSync(`/proc/${holderPid}/gid_map`, `0 ${hostGid} 1`);
  } catch (cause) {
    await holder.close();
    throw namespaceFailure(`user namespace map: ${(cause as NodeJS.ErrnoException).code ?? ''} not permitted`, isRoot);
  }
  return holder;
}

function enterNamespaces(
  nsenter: string,
  holderPid: number,
  isRoot: boolean,
  argv: readonly string[],
  options: EnterOptions,
): ChildProcess {
  const command = [nsenter, '-t', String(holderPid), '-m', '-U', '-n', '-p', '-i', '-u', '-C'];
  // Without privilege over the namespace's parent, setgroups(2) is denied; with it, the caller's groups are dropped.
  if (!isRoot) command.push('--preserve-credentials');
  command.push('--', ...argv);
  const procs = options.cgroupProcs ?? [];
  const [file, ...rest] =
    procs.length === 0 ? command : ['/bin/sh', '-c', CGROUP_JOIN_PROGRAM, 'sallyport-join', ...procs, '--', ...command];
  return spawn(file ?? nsenter, rest, {
    stdio: options.stdio ?? 'ignore',
    env: { ...(options.env ?? TOOL_ENVIRONMENT) },
    detached: options.detached ?? false,
    cwd: '/',
  });
}

async function firstLine(wrapper: ChildProcess): Promise<string | undefined> {
  const { stdout } = wrapper;
  if (stdout === null) return undefined;
  let text = '';
  const finished = once(wrapper, 'close').then(
    () => undefined,
    () => undefined,
  );
  const line = new Promise<string>((resolve) => {
    stdout.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
    });
  });
  return await Promise.race([line, finished]);
}

/** Runs a program inside the namespaces to its end and gives back what it wrote; input is sent where given. */
export async function runInside(
  holder: Holder,
  argv: readonly string[],
  options: { readonly input?: Buffer | string; readonly onOutput?: (text: string) => void } = {},
): Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = holder.enter(argv, { stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    options.onOutput?.(text);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input ?? '');
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
}
