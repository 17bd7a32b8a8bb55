import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { Holder } from '../airlock/holder.ts';
import { AttachSocket } from './attach-socket.ts';
import { startSupervisedExec, type SupervisedExecSpec } from './supervised-exec.ts';
import type { ContainerRecord } from './waiting-container.ts';

/**
 * Waits for one line, which is a program that becomes the command. Newlines in it stand as `$n`. When nobody is left who could send one, it ends.
 */
const PARKED_PROGRAM = `n='
'
IFS= read -r program || exit 0
eval "$program"`;

/**
 * A process that was executed in a container before there was a command, and becomes the command when there is one: so the runtime's time
 * is not the caller's. It is as any command of the sandbox, and others there can do to it what they can do to any. It ends with this process.
 */
export class ParkedExec {
  readonly id: string;
  readonly #container: ContainerRecord;
  readonly #directory: string;
  readonly #input: AttachSocket;
  #isOver = false;
  #onEnd: () => void = () => undefined;

  private constructor(id: string, container: ContainerRecord, directory: string) {
    this.id = id;
    this.#container = container;
    this.#directory = directory;
    this.#input = new AttachSocket(join(directory, id));
  }

  /** Parks one. @param directory as for {@link startSupervisedExec}. @throws SallyportError EXEC_FAILED, EXEC_ENDED. */
  static async start(holder: Holder, container: ContainerRecord, directory: string, id: string): Promise<ParkedExec> {
    const spec = {
      id,
      command: ['/bin/sh', '-c', PARKED_PROGRAM],
      environment: {},
      terminal: null,
      stdin: true,
    };
    const ended = Promise.withResolvers<void>();
    await startSupervisedExec(holder, container, directory, spec, () => ended.resolve());
    const parked = new ParkedExec(id, container, directory);
    void ended.promise.then(() => parked.#end());
    return parked;
  }

  /** Whether it can become this command: `env` takes a word with "=" for a variable. */
  static suits(command: readonly string[]): boolean {
    return command[0]?.includes('=') === false;
  }

  /** Whether it can still become a command. */
  get isReady(): boolean {
    return !this.#isOver;
  }

  /**
   * Becomes a command without a terminal, in the container's own working directory.
   *
   * @param onEnd as for {@link startSupervisedExec}
   * @returns its open standard input; null where it is to have none
   * @throws SallyportError EXEC_ENDED when it is gone already.
   */
  async become(
    { command, environment, stdin }: Pick<SupervisedExecSpec, 'command' | 'environment' | 'stdin'>,
    onEnd: () => void,
  ): Promise<AttachSocket | null> {
    if (this.#isOver) throw new SallyportError('EXEC_ENDED', 'The process that was to become the command is gone.');
    this.#onEnd = onEnd;
    const variables = Object.entries({ ...this.#container.environment, ...environment });
    const words = ['env', '-i', ...variables.map(([name, value]) => `${name}=${value}`), ...command].map(quote);
    const program = `exec ${words.join(' ')}${stdin ? '' : ' < /dev/null'}`;
    await this.#input.write(Buffer.from(`${program}\n`));
    if (stdin) return this.#input;
    this.#input.close();
    return null;
  }

  /** Gives it up. */
  close(): void {
    this.#input.close();
    // Its supervisor still writes there until it has ended.
    this.#onEnd = () => this.#remove();
    if (this.#isOver) this.#remove();
  }

  #remove(): void {
    try {
      rmSync(join(this.#directory, this.id), { recursive: true, force: true });
    } catch {
      // It goes with the sandbox.
    }
  }

  #end(): void {
    this.#isOver = true;
    this.#onEnd();
  }
}

/** A word of the shell's, on one line. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`).replaceAll('\n', `'"$n"'`)}'`;
}
