import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

import { pythonEnvironment } from './packages.ts';

/** A parser of Python's as an oracle, in a process of its own: bytes in, one answer for each call out. */
export class PythonOracle<Answer> {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting: PromiseWithResolvers<Answer>[] = [];

  /** Starts `PARSER_oracle.py MODE`; null where Python's parsers are not installed (`packages.ts`). */
  static start<Answer>(parser: 'h11' | 'h2', mode: string): PythonOracle<Answer> | null {
    const env = pythonEnvironment();
    return env === null ? null : new PythonOracle<Answer>(`${parser}_oracle.py`, mode, env);
  }

  private constructor(script: string, mode: string, env: NodeJS.ProcessEnv) {
    const args = [join(import.meta.dirname, script), mode];
    this.#process = spawn('python3', args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Answer);
    });
    this.#process.on('close', () => {
      for (const waiting of this.#waiting) waiting.reject(new Error(`${script} ended early.`));
    });
  }

  /** Gives it bytes; calls may overlap and are answered in their order. */
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
