import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Reading } from './reading.ts';

/** Python's h11 as an oracle, in a process of its own. */
export class H11Oracle {
  readonly name = 'h11';
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting: PromiseWithResolvers<Reading>[] = [];

  /** Null where python3 or h11 is missing. */
  static start(): H11Oracle | null {
    const probe = spawnSync('python3', ['-c', 'import h11'], { stdio: 'ignore' });
    return probe.status === 0 ? new H11Oracle() : null;
  }

  private constructor() {
    const script = join(import.meta.dirname, 'h11_oracle.py');
    this.#process = spawn('python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Reading);
    });
    this.#process.on('exit', () => {
      for (const waiting of this.#waiting) waiting.reject(new Error('The h11 process ended early.'));
    });
  }

  /** Reads one connection; calls may overlap. */
  read(bytes: Buffer): Promise<Reading> {
    const answer = Promise.withResolvers<Reading>();
    this.#waiting.push(answer);
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(bytes.length);
    this.#process.stdin.write(Buffer.concat([prefix, bytes]));
    return answer.promise;
  }

  close(): void {
    this.#process.stdin.end();
  }
}
