import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { SandboxState } from '@sallyport/sdk';
import type { LastingRecord } from '../../engine/prepared-sandbox.ts';
import type { SandboxDefinition } from '../definition.ts';
import { writeState } from './database.ts';

/** A sandbox as the state has it. Times are ms since 1970. */
export interface SandboxRow {
  readonly id: string;
  readonly name: string;
  readonly state: SandboxState;
  readonly reason: string | null;
  readonly definition: SandboxDefinition;
  /** How to find its processes; null while there are none. */
  readonly record: LastingRecord | null;
  readonly notices: readonly string[];
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly stoppedAt: number | null;
  /** When it is to be stopped, by the monotonic clock of the boot that its record names; null for never. */
  readonly lifetimeEndsAt: number | null;
}

/** The sandboxes of the daemon, and the names that each knows addresses of. */
export class SandboxTable {
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #remove: StatementSync;
  readonly #all: StatementSync;
  readonly #addName: StatementSync;
  readonly #names: StatementSync;
  readonly #clearNames: StatementSync;

  constructor(database: DatabaseSync) {
    this.#insert = database.prepare(
      'INSERT INTO sandboxes (id, name, state, reason, definition, record, notices, created_at, started_at, stopped_at, lifetime_ends_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#update = database.prepare(
      'UPDATE sandboxes SET state = ?, reason = ?, definition = ?, record = ?, notices = ?, started_at = ?, stopped_at = ?, lifetime_ends_at = ? WHERE id = ?',
    );
    this.#remove = database.prepare('DELETE FROM sandboxes WHERE id = ?');
    this.#all = database.prepare('SELECT * FROM sandboxes ORDER BY rowid');
    this.#addName = database.prepare('INSERT OR REPLACE INTO names (sandbox_id, position, name) VALUES (?, ?, ?)');
    this.#names = database.prepare('SELECT name FROM names WHERE sandbox_id = ? ORDER BY position');
    this.#clearNames = database.prepare('DELETE FROM names WHERE sandbox_id = ?');
  }

  insert(row: SandboxRow): void {
    writeState(() =>
      this.#insert.run(
        row.id,
        row.name,
        row.state,
        row.reason,
        JSON.stringify(row.definition),
        row.record === null ? null : JSON.stringify(row.record),
        JSON.stringify(row.notices),
        row.createdAt,
        row.startedAt,
        row.stoppedAt,
        row.lifetimeEndsAt,
      ),
    );
  }

  update(row: SandboxRow): void {
    writeState(() =>
      this.#update.run(
        row.state,
        row.reason,
        JSON.stringify(row.definition),
        row.record === null ? null : JSON.stringify(row.record),
        JSON.stringify(row.notices),
        row.startedAt,
        row.stoppedAt,
        row.lifetimeEndsAt,
        row.id,
      ),
    );
  }

  remove(id: string): void {
    writeState(() => this.#remove.run(id));
  }

  all(): SandboxRow[] {
    return this.#all.all().map((row) => ({
      id: String(row['id']),
      name: String(row['name']),
      state: String(row['state']) as SandboxState,
      reason: row['reason'] === null ? null : String(row['reason']),
      definition: JSON.parse(String(row['definition'])) as SandboxDefinition,
      record: row['record'] === null ? null : (JSON.parse(String(row['record'])) as LastingRecord),
      notices: JSON.parse(String(row['notices'])) as string[],
      createdAt: Number(row['created_at']),
      startedAt: row['started_at'] === null ? null : Number(row['started_at']),
      stoppedAt: row['stopped_at'] === null ? null : Number(row['stopped_at']),
      lifetimeEndsAt: row['lifetime_ends_at'] === null ? null : Number(row['lifetime_ends_at']),
    }));
  }

  /** Keeps a name at its position: the address that the sandbox knows it by. */
  addName(id: string, position: number, name: string): void {
    writeState(() => this.#addName.run(id, position, name));
  }

  names(id: string): string[] {
    return this.#names.all(id).map((row) => String(row['name']));
  }

  clearNames(id: string): void {
    writeState(() => this.#clearNames.run(id));
  }
}
