import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** Python's h11 as an oracle, in a process of its own. */
export class H11Oracle<Answer> {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting: PromiseWithResolvers<Answer>[] = [];

  /** Null where python3 or h11 is missing. */
  static start<Answer>(side: 'requests' | 'responses'): H11Oracle<Answer> | null {
    const probe = spawnSync('python3', ['-c', 'import h11'], { stdio: 'ignore' });
    return probe.status === 0 ? new H11Oracle<Answer>(side) : null;
  }

  private constructor(side: string) {
    const script = join(import.meta.dirname, 'h11_oracle.py');
    this.#process = spawn('python3', [script, side], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Answer);
    });
    this.#process.on('exit', () => {
      for (const waiting of this.#waiting) waiting.reject(new Error('The h11 process ended early.'));
    });
  }

  /** Reads one connection; calls may overlap. */
  read(bytes: Buffer): Promise<Answer> {
    const answer = Promise.withResolvers<Answer>();
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
