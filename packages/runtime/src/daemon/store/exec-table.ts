import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { ExecInfo } from '@sallyport/sdk';
import { writeState } from './database.ts';

/** A command as the state has it. Times are ms since 1970. */
export interface ExecRow {
  readonly id: string;
  readonly sandboxId: string;
  readonly state: ExecInfo['state'];
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly createdAt: number;
  /** When its time limit passes, by the monotonic clock. */
  readonly deadlineAt: number | null;
  readonly endedAt: number | null;
  readonly exitCode: number | null;
  readonly timedOut: boolean;
  readonly reason: string | null;
}

/** The commands of all sandboxes. */
export class ExecTable {
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #remove: StatementSync;
  readonly #ofSandbox: StatementSync;

  constructor(database: DatabaseSync) {
    this.#insert = database.prepare(
      'INSERT INTO execs (id, sandbox_id, state, command, terminal, created_at, deadline_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#update = database.prepare(
      'UPDATE execs SET state = ?, ended_at = ?, exit_code = ?, timed_out = ?, reason = ? WHERE id = ?',
    );
    this.#remove = database.prepare('DELETE FROM execs WHERE id = ?');
    this.#ofSandbox = database.prepare('SELECT * FROM execs WHERE sandbox_id = ? ORDER BY rowid');
  }

  insert(row: ExecRow): void {
    writeState(() =>
      this.#insert.run(
        row.id,
        row.sandboxId,
        row.state,
        JSON.stringify(row.command),
        row.terminal ? 1 : 0,
        row.createdAt,
        row.deadlineAt,
      ),
    );
  }

  update(row: ExecRow): void {
    writeState(() => this.#update.run(row.state, row.endedAt, row.exitCode, row.timedOut ? 1 : 0, row.reason, row.id));
  }

  remove(id: string): void {
    writeState(() => this.#remove.run(id));
  }

  ofSandbox(sandboxId: string): ExecRow[] {
    return this.#ofSandbox.all(sandboxId).map((row) => ({
      id: String(row['id']),
      sandboxId,
      state: String(row['state']) as ExecRow['state'],
      command: JSON.parse(String(row['command'])) as string[],
      terminal: row['terminal'] === 1,
      createdAt: Number(row['created_at']),
      deadlineAt: row['deadline_at'] === null ? null : Number(row['deadline_at']),
      endedAt: row['ended_at'] === null ? null : Number(row['ended_at']),
      exitCode: row['exit_code'] === null ? null : Number(row['exit_code']),
      timedOut: row['timed_out'] === 1,
      reason: row['reason'] === null ? null : String(row['reason']),
    }));
  }
}
