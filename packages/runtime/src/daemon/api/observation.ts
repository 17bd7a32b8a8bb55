import type { DaemonEvent, LogEntry } from '@sallyport/sdk';
import { readOutput } from '../exec-output.ts';
import type { ManagedExec } from '../managed-exec.ts';
import type { ManagedSandbox } from '../managed-sandbox.ts';
import type { SandboxRegistry } from '../registry.ts';
import type { EventTable } from '../store/event-table.ts';
import type { ApiEvent, Handler } from './exchange.ts';

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
    async streamLogs({ params, query, signal }) {
      const { exec, tail, follow } = query;
      const sandbox = registry.find(params['sandbox'] ?? '');
      const chosen = typeof exec === 'string' ? [sandbox.findExec(exec)] : undefined;
      const entries =
        typeof tail === 'number'
          ? tailOf(sandbox, chosen, tail, signal)
          : streamLogs(sandbox, chosen, events, follow === true, signal);
      return { kind: 'events', events: toEvents(entries) };
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

/** What commands wrote, one after the other; with `follow` that of commands to come as well, as they begin. */
async function* streamLogs(
  sandbox: ManagedSandbox,
  chosen: readonly ManagedExec[] | undefined,
  events: EventTable,
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<LogEntry, void, undefined> {
  if (!follow || chosen !== undefined) {
    for (const exec of chosen ?? sandbox.execs) yield* entriesOf(exec, follow, signal);
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
        yield* entriesOf(next, true, signal);
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
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<LogEntry, void, undefined> {
  for await (const output of readOutput(exec, null, follow, signal)) {
    if (output.kind !== 'piece') continue;
    const { stream, time, data } = output.piece;
    yield { exec: exec.id, stream, time, data: data.toString('base64') };
  }
}

/** The last pieces of what has been written so far. */
async function* tailOf(
  sandbox: ManagedSandbox,
  chosen: readonly ManagedExec[] | undefined,
  count: number,
  signal: AbortSignal,
): AsyncGenerator<LogEntry, void, undefined> {
  const last: LogEntry[] = [];
  for (const exec of chosen ?? sandbox.execs) {
    for await (const entry of entriesOf(exec, false, signal)) {
      last.push(entry);
      if (last.length > count) last.shift();
    }
  }
  yield* last;
}

async function* toEvents(entries: AsyncIterable<LogEntry>): AsyncGenerator<ApiEvent, void, undefined> {
  for await (const entry of entries) yield { type: entry.stream, data: entry };
}
