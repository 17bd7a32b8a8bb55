import type { DaemonEvent, LogEntry } from '@sallyport/sdk';
import { formatPosition, parsePosition, readOutput, type OutputPosition } from '../exec-output.ts';
import type { ManagedExec } from '../managed-exec.ts';
import type { ManagedSandbox } from '../managed-sandbox.ts';
import type { SandboxRegistry } from '../registry.ts';
import type { EventTable } from '../store/event-table.ts';
import type { ApiEvent, Handler } from './exchange.ts';
import { InvalidRequest } from './problem.ts';

/** Events that wait for a client that does not take them; older ones are left out beyond that, and can be asked for again. */
const MAX_WAITING_EVENTS = 10_000;

/** What happened and what was written. */
export function observationHandlers(registry: SandboxRegistry, events: EventTable) {
  return {
    async streamEvents({ query, signal }) {
      const { sandbox, after, follow } = query;
      const known = typeof sandbox === 'string' ? registry.find(sandbox).id : undefined;
      return {
        kind: 'events',
        events: streamEvents(events, typeof after === 'number' ? after : 0, known, follow === true, signal),
      };
    },
    async streamLogs({ params, query, lastEventId, signal }) {
      const { exec, tail, follow } = query;
      const sandbox = registry.find(params['sandbox'] ?? '');
      const chosen = typeof exec === 'string' ? sandbox.findExec(exec) : null;
      const after = query['after'] ?? lastEventId;
      const reading: LogReading = { sandbox, chosen, starts: new Map(), follow: follow === true, signal };
      if (typeof after === 'string') return { kind: 'events', events: streamLogs(startAfter(reading, after), events) };
      return {
        kind: 'events',
        events: typeof tail === 'number' ? streamTail(reading, tail, events) : streamLogs(reading, events),
      };
    },
  } satisfies Record<string, Handler>;
}

async function* streamEvents(
  events: EventTable,
  after: number,
  sandboxId: string | undefined,
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<ApiEvent, void, undefined> {
  const waiting: DaemonEvent[] = [];
  let wake: (() => void) | undefined;
  const stop = events.listen((event) => {
    waiting.push(event);
    if (waiting.length > MAX_WAITING_EVENTS) waiting.shift();
    wake?.();
  });
  const onAbort = (): void => wake?.();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    let last = after;
    for (const event of events.after(after)) {
      last = event.id;
      if (sandboxId === undefined || event.sandboxId === sandboxId) yield show(event);
    }
    while (follow && !signal.aborted) {
      const event = waiting.shift();
      if (event === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if (event.id > last && (sandboxId === undefined || event.sandboxId === sandboxId)) yield show(event);
    }
  } finally {
    stop();
    signal.removeEventListener('abort', onAbort);
  }
}

function show(event: DaemonEvent): ApiEvent {
  return { id: String(event.id), type: event.type, data: event };
}

/** Which output is read, and from where. */
interface LogReading {
  readonly sandbox: ManagedSandbox;
  /** Null for all commands. */
  readonly chosen: ManagedExec | null;
  /** Where to begin; commands that are not in there are read from their beginning. */
  readonly starts: ReadonlyMap<string, OutputPosition>;
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

/** What {@link LogReading.starts} says of commands of which nothing is wanted any more. */
const READ: OutputPosition = { log: 0, offset: Number.MAX_SAFE_INTEGER };

/** Goes on after an event. @throws SallyportError INVALID_REQUEST; EXEC_NOT_FOUND when the command is no longer kept. */
function startAfter(reading: LogReading, after: string): LogReading {
  const [id = '', text = '', ...more] = after.split(':');
  const position = parsePosition(text);
  if (position === undefined || more.length > 0) {
    throw new InvalidRequest('query', [{ path: 'after', message: 'It is not the id of a log event' }]);
  }
  const { sandbox } = reading;
  const last = sandbox.findExec(id);
  const starts = new Map<string, OutputPosition>();
  // They come in their order: those before it have been read.
  for (const { id: earlier } of sandbox.execs.slice(0, sandbox.execs.indexOf(last))) starts.set(earlier, READ);
  return { ...reading, starts: starts.set(id, position) };
}

/** What commands wrote, one after the other; with `follow` that of commands to come as well, as they begin. */
async function* streamLogs(reading: LogReading, events: EventTable): AsyncGenerator<ApiEvent, void, undefined> {
  const { sandbox, chosen, follow, signal } = reading;
  if (!follow || chosen !== null) {
    for (const exec of chosen === null ? sandbox.execs : [chosen]) yield* entriesOf(exec, reading);
    return;
  }
  const seen = new Set<string>();
  let wake: (() => void) | undefined;
  const stop = events.listen(({ sandboxId }) => {
    if (sandboxId === sandbox.id) wake?.();
  });
  const onAbort = (): void => wake?.();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted) {
      const changed = new Promise<void>((resolve) => (wake = resolve));
      const next = sandbox.execs.find(({ id }) => !seen.has(id));
      if (next !== undefined) {
        seen.add(next.id);
        yield* entriesOf(next, reading);
      } else if (sandbox.isRunning) await changed;
      else return;
    }
  } finally {
    stop();
    signal.removeEventListener('abort', onAbort);
  }
}

async function* entriesOf(
  exec: ManagedExec,
  { starts, follow, signal }: Pick<LogReading, 'starts' | 'follow' | 'signal'>,
): AsyncGenerator<ApiEvent, void, undefined> {
  const start = starts.get(exec.id) ?? null;
  if (start === READ) return;
  for await (const output of readOutput(exec, start, follow, signal)) {
    if (output.kind !== 'piece') continue;
    const { stream, time, data } = output.piece;
    const entry: LogEntry = { exec: exec.id, stream, time, data: data.toString('base64') };
    yield { id: `${exec.id}:${formatPosition(output.position)}`, type: stream, data: entry };
  }
}

/** The last pieces of what has been written so far; with `follow`, what comes after them. */
async function* streamTail(
  reading: LogReading,
  count: number,
  events: EventTable,
): AsyncGenerator<ApiEvent, void, undefined> {
  const { sandbox, chosen, signal } = reading;
  const last: ApiEvent[] = [];
  const starts = new Map<string, OutputPosition>();
  for (const exec of chosen === null ? sandbox.execs : [chosen]) {
    for await (const entry of entriesOf(exec, { starts: new Map(), follow: false, signal })) {
      const position = parsePosition(entry.id?.split(':')[1] ?? '');
      if (position !== undefined) starts.set(exec.id, position);
      last.push(entry);
      if (last.length > count) last.shift();
    }
  }
  yield* last;
  if (reading.follow) yield* streamLogs({ ...reading, starts }, events);
}
