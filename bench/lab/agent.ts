import { once } from 'node:events';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { cpuMsOfStat } from './processes.ts';

const MARK = '@@done';
const READY = '@@ready';
/** A client that says nothing for this long has hung. */
const TIMEOUT_MS = 120_000;
const START_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 5000;

/**
 * The shell program of an agent: runs each line that it reads and prints its output, then its status and what it and all its children
 * cost. It knows nothing of where it runs, so the same clients run on the host and in a sandbox.
 *
 * @param core its number, or several as taskset(1) writes them.
 */
export function agentProgram(core: number | string): string {
  return [
    `taskset -pc ${core} $$ >/dev/null`,
    'ulimit -n "$(ulimit -Hn)"',
    `echo ${READY}`,
    'while IFS= read -r line; do',
    '  eval "$line" </dev/null 2>&1',
    '  status=$?',
    '  read -r stat </proc/$$/stat',
    `  printf '\\n${MARK} %s %s\\n' "$status" "$stat"`,
    'done',
  ].join('\n');
}

/** What a client printed, and what it cost. */
export interface ClientResult {
  readonly output: string;
  readonly cpuMs: number;
}

/** Runs clients one after another in the place that its process was started in. */
export class Agent {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #name: string;
  #output = '';
  #stderr = '';
  #cpuMs = 0;
  #wake: () => void = () => undefined;

  /** @param process runs {@link agentProgram} with pipes. */
  constructor(process: ChildProcessWithoutNullStreams, name: string) {
    this.#process = process;
    this.#name = name;
    process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#wake();
    });
    process.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    process.on('exit', () => this.#wake());
    process.stdin.on('error', () => undefined);
  }

  /** Resolves when the first client can be run, to what was printed before. */
  async ready(): Promise<string> {
    await this.#until(() => this.#output.includes(READY), START_TIMEOUT_MS);
    const before = this.#output.slice(0, this.#output.indexOf(READY));
    this.#output = '';
    return before;
  }

  /**
   * Runs a shell command.
   *
   * @throws Error when it fails, with what it printed.
   */
  async run(command: string): Promise<ClientResult> {
    this.#process.stdin.write(`${command}\n`);
    const pattern = new RegExp(`\\n${MARK} (\\d+) (.*)\\n`);
    await this.#until(() => pattern.test(this.#output));
    const found = pattern.exec(this.#output);
    const output = this.#output.slice(0, found?.index);
    this.#output = '';
    if (found?.[1] !== '0') {
      const lines = output.trim().split('\n');
      throw new Error(`${this.#name}: exit status ${found?.[1]}: ${lines.at(-1)}\n${command}\n${output.trim()}`);
    }
    const total = cpuMsOfStat(found[2] ?? '', 'children');
    const cpuMs = total - this.#cpuMs;
    this.#cpuMs = total;
    return { output, cpuMs };
  }

  /** Lets the agent end, by force where it hangs, and waits for its process. */
  async close(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.stdin.end();
    const force = setTimeout(() => this.#process.kill('SIGKILL'), END_TIMEOUT_MS);
    await ended;
    clearTimeout(force);
  }

  async #until(isMet: () => boolean, timeoutMs = TIMEOUT_MS): Promise<void> {
    const giveUpAt = performance.now() + timeoutMs;
    while (!isMet()) {
      if (this.#process.exitCode !== null) {
        throw new Error(`${this.#name} ended with status ${this.#process.exitCode}: ${this.#stderr}${this.#output}`);
      }
      if (performance.now() > giveUpAt) throw new Error(`${this.#name} hangs: ${this.#stderr}${this.#output}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
