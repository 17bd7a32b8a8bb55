import { spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { enterNamespaces, firstLine, holderIds, mapHolderIds } from './holder.ts';
import type { Holder } from './holder.ts';
import { isHostRoot } from './host-root.ts';
import { namespaceFailure } from './namespace-diagnosis.ts';
import { requireTools, TOOL_ENVIRONMENT } from './required-tools.ts';

/** What another process must know to take a holder over; plain JSON. */
export interface LastingHolderRecord {
  readonly pid: number;
  /** When that process started, in clock ticks since boot: with the boot, it says which process it is. */
  readonly startTicks: string;
  readonly bootId: string;
  readonly hostUid: number;
  readonly hostGid: number;
  /** A pipe that is open as long as anything of the holder is left. */
  readonly lifeline: string;
}

/** A holder that outlives the process that made it. */
export interface LastingHolder extends Holder {
  readonly record: LastingHolderRecord;
}

/** What {@link openLastingHolder} needs. */
export interface LastingHolderOptions {
  readonly tools: { readonly unshare: string; readonly nsenter: string; readonly tini: string; readonly sleep: string };
  readonly cgroupDirectories: readonly string[];
  readonly lifeline: string;
}

/**
 * The wrapper, a session of its own. It holds the lifeline, and so do `unshare` and the holder, which inherit it; what enters the namespaces
 * later does not. The holder reaps: processes of a sandbox whose parents have ended become its children.
 */
const WRAPPER_PROGRAM = `
trap '' HUP INT TERM PIPE
unshare=$1 tini=$2 sleep=$3 lifeline=$4
mkfifo -m 600 "$lifeline" "$lifeline-container" || exit 125
exec 9<> "$lifeline" < /dev/null
shift 4
"$unshare" --user --mount --net --pid --ipc --uts --cgroup --fork --kill-child --propagation private \\
  sh -c 'read -r pid rest < /proc/self/stat && echo "$pid" > "$3.pid" && echo "$pid" && exec "$1" -- "$2" infinity > /dev/null 2>&1' \
  sallyport-holder "$tini" "$sleep" "$lifeline"
for directory in "$@"; do
  tries=0
  while [ -d "$directory" ] && ! rmdir "$directory"/*/ "$directory" 2> /dev/null && [ -d "$directory" ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
done
`;

/** How long the processes of a closed holder may take to go. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * As `openHolder`, for namespaces that stay when this process ends, however it does: they end by {@link Holder.close}, by this process or by
 * one that took them over.
 *
 * @throws SallyportError `USER_NAMESPACES_FORBIDDEN`, naming the setting; `AIRLOCK_FAILED` for anything else.
 */
export async function openLastingHolder(options: LastingHolderOptions): Promise<LastingHolder> {
  const { tools, cgroupDirectories, lifeline } = options;
  const isRoot = isHostRoot();
  const wrapper = spawn(
    '/bin/sh',
    [
      '-c',
      WRAPPER_PROGRAM,
      'sallyport-sandbox',
      tools.unshare,
      tools.tini,
      tools.sleep,
      lifeline,
      ...cgroupDirectories,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...TOOL_ENVIRONMENT }, cwd: '/' },
  );
  let toolSaid = '';
  wrapper.stderr.setEncoding('latin1').on('data', (text: string) => (toolSaid = (toolSaid + text).slice(0, 4096)));
  const pid = Number(await firstLine(wrapper));
  if (!Number.isSafeInteger(pid) || pid < 2) {
    throw namespaceFailure(toolSaid === '' ? 'the namespaces could not be made' : toolSaid, isRoot);
  }
  // It is nobody's child from here on, as it will be for whoever takes it over.
  wrapper.stdout.destroy();
  wrapper.stderr.destroy();
  wrapper.unref();
  const startTicks = readStartTicks(pid);
  if (startTicks === undefined) throw ended();
  const record = { pid, startTicks, bootId: readBootId(), ...holderIds(pid, isRoot), lifeline };
  const holder = watch(record, tools.nsenter, isRoot);
  try {
    mapHolderIds(holder, isRoot);
  } catch (cause) {
    await holder.close();
    throw namespaceFailure(`user namespace map: ${(cause as NodeJS.ErrnoException).code ?? ''} not permitted`, isRoot);
  }
  return holder;
}

/**
 * Takes over a holder that another process has opened.
 *
 * @throws SallyportError `AIRLOCK_FAILED` when it has ended.
 */
export function adoptHolder(record: LastingHolderRecord): LastingHolder {
  if (!isHolderAlive(record)) throw ended();
  return watch(record, requireTools(['nsenter']).nsenter, isHostRoot());
}

/**
 * Ends what holds a lifeline and is in nobody's records, because the process that made it ended in the middle. Resolves to whether there was
 * something.
 */
export async function endForsakenHolder(lifeline: string): Promise<boolean> {
  const pid = await findForsaken(lifeline);
  if (pid === undefined) return false;
  const end = watchLifeline(lifeline);
  process.kill(pid, 'SIGKILL');
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([end, new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)))]);
  clearTimeout(timer);
  return true;
}

/** The holder of a lifeline; one that is just being made is waited for. */
async function findForsaken(lifeline: string): Promise<number | undefined> {
  const endMs = performance.now() + FORSAKEN_TIMEOUT_MS;
  while (existsSync(lifeline)) {
    try {
      const pid = Number(readFileSync(`${lifeline}.pid`, 'latin1'));
      if (Number.isSafeInteger(pid) && pid > 1) {
        return readlinkSync(`/proc/${pid}/fd/${LIFELINE_FD}`) === realpathSync(lifeline) ? pid : undefined;
      }
    } catch (error) {
      // Its number is written before it does anything else, so a process that is not there has ended.
      if (existsSync(`${lifeline}.pid`)) return undefined;
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) return undefined;
    }
    if (performance.now() > endMs) return undefined;
    await new Promise((resolve) => setTimeout(resolve, FORSAKEN_PAUSE_MS));
  }
  return undefined;
}

/** How long the wrapper of a daemon that was killed may take until its holder has a number. */
const FORSAKEN_TIMEOUT_MS = 3_000;
const FORSAKEN_PAUSE_MS = 25;

/** The descriptor by which the wrapper and the holder hold the lifeline. */
const LIFELINE_FD = 9;

/** Whether the process of a record is still the one that it was about. */
export function isHolderAlive({ pid, startTicks, bootId }: LastingHolderRecord): boolean {
  return readBootId() === bootId && readStartTicks(pid) === startTicks;
}

function watch(record: LastingHolderRecord, nsenter: string, isRoot: boolean): LastingHolder {
  let isOver = false;
  const end = watchLifeline(record.lifeline).then(() => {
    isOver = true;
  });
  let closing: Promise<void> | undefined;
  const close = async () => {
    if (!isOver && isHolderAlive(record)) {
      try {
        process.kill(record.pid, 'SIGKILL');
      } catch {
        // It has ended in between.
      }
    }
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([end, new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)))]);
    clearTimeout(timer);
  };
  return {
    record,
    pid: record.pid,
    hostUid: record.hostUid,
    hostGid: record.hostGid,
    ended: end,
    enter(argv, options = {}) {
      if (closing !== undefined || isOver || !isHolderAlive(record)) throw ended();
      return enterNamespaces(nsenter, record.pid, isRoot, argv, options);
    },
    close: () => (closing ??= close()),
  };
}

/** The pipe for the first process of the container to hold, as an airlock's processes hold theirs. */
export function containerLifeline(lifeline: string): string {
  return `${lifeline}-container`;
}

/** Resolves when nothing holds the lifeline any more; nothing wakes this process before. */
export function watchLifeline(path: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  watchPipe(path, resolve);
  return promise;
}

/**
 * Hears when nothing holds the writing end of a named pipe any more, by which nothing is ever written.
 *
 * @param onGone is not called before this returns, nor after `close()`.
 * @throws the system's error when the pipe cannot be opened.
 */
export function watchPipe(path: string, onGone: () => void): { close(): void } {
  // Without O_NONBLOCK it would wait for a writer, and there is none when everything is gone.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  if (isForsaken(fd)) {
    closeSync(fd);
    const soon = setImmediate(onGone);
    return { close: () => clearImmediate(soon) };
  }
  const pipe = new Socket({ fd, readable: true, writable: false }).unref();
  pipe.on('error', () => undefined);
  pipe.once('close', onGone);
  pipe.resume();
  return {
    close() {
      pipe.removeListener('close', onGone);
      pipe.destroy();
    },
  };
}

/** Whether a pipe has no writer. The kernel wakes nobody for one that was left before it was opened. */
function isForsaken(fd: number): boolean {
  try {
    return readSync(fd, Buffer.allocUnsafe(1)) === 0;
  } catch {
    // EAGAIN: there is one who has nothing to say.
    return false;
  }
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
function readStartTicks(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

function ended(): SallyportError {
  return new SallyportError('AIRLOCK_FAILED', 'The sandbox has ended already. Start it again.');
}
