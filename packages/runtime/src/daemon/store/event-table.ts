import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { DaemonEvent } from '@sallyport/sdk';
import { writeState } from './database.ts';

/** How many events are kept. */
export const MAX_KEPT_EVENTS = 10_000;
/** How often older ones are removed, in events. */
const TRIM_INTERVAL = 500;

/** What the daemon did, the newest {@link MAX_KEPT_EVENTS} of it; listeners hear of each as it is added. */
export class EventTable {
  readonly #insert: StatementSync;
  readonly #trim: StatementSync;
  readonly #after: StatementSync;
  readonly #listeners = new Set<(event: DaemonEvent) => void>();
  readonly #now: () => number;

  constructor(database: DatabaseSync, now: () => number = Date.now) {
    this.#now = now;
    this.#insert = database.prepare(
      'INSERT INTO events (time, type, sandbox, sandbox_id, exec, detail) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#trim = database.prepare('DELETE FROM events WHERE id <= ?');
    this.#after = database.prepare('SELECT * FROM events WHERE id > ? ORDER BY id');
  }

  /** Adds an event. */
  add(event: Omit<DaemonEvent, 'id' | 'time'>): void {
    const nowMs = this.#now();
    const { type, sandbox, sandboxId, exec, detail } = event;
    const { lastInsertRowid } = writeState(() => this.#insert.run(nowMs, type, sandbox, sandboxId, exec, detail));
    const id = Number(lastInsertRowid);
    if (id % TRIM_INTERVAL === 0) writeState(() => this.#trim.run(id - MAX_KEPT_EVENTS));
    const added: DaemonEvent = { id, time: new Date(nowMs).toISOString(), ...event };
    for (const listener of this.#listeners) listener(added);
  }

  /** The events with a greater id, as far as they are kept. */
  after(id: number): DaemonEvent[] {
    return this.#after.all(id).map((row) => ({
      id: Number(row['id']),
      time: new Date(Number(row['time'])).toISOString(),
      type: String(row['type']) as DaemonEvent['type'],
      sandbox: String(row['sandbox']),
      sandboxId: String(row['sandbox_id']),
      exec: row['exec'] === null ? null : String(row['exec']),
      detail: row['detail'] === null ? null : String(row['detail']),
    }));
  }

  /** Listens until the function that this returns is called. */
  listen(listener: (event: DaemonEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
