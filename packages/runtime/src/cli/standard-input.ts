import { Readable } from 'node:stream';

/** Ctrl-P, Ctrl-Q: the keys by which one leaves a command to itself. */
const DETACH_KEYS = [0x10, 0x11] as const;

/**
 * Standard input that outlives the request that carries it: when one breaks, the next goes on with what was not taken yet.
 */
export class StandardInput {
  readonly #source: NodeJS.ReadStream;
  readonly #onDetach: (() => void) | undefined;
  readonly #waiting: Buffer[] = [];
  #target: Readable | null = null;
  #isEnded = false;
  #isDelivered = false;
  #isListening = false;
  #holdsFirstKey = false;

  /** @param onDetach called when the keys for that were pressed; the keys themselves go nowhere. */
  constructor(source: NodeJS.ReadStream, onDetach?: () => void) {
    this.#source = source;
    this.#onDetach = onDetach;
  }

  /** Whether its end has been taken by a request that succeeded. */
  get isDelivered(): boolean {
    return this.#isDelivered;
  }

  /** A stream of what has not been taken yet; the one before gets no more. */
  open(): Readable {
    const target = new Readable({
      read: () => {
        if (this.#target === target) this.#deliver();
      },
    });
    this.#target = target;
    this.#listen();
    return target;
  }

  noteDelivered(): void {
    this.#isDelivered = true;
  }

  close(): void {
    this.#target = null;
    this.#source.destroy();
  }

  #listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    this.#source.on('data', (chunk: Buffer) => {
      const bytes = this.#onDetach === undefined ? chunk : this.#findDetachKeys(chunk, this.#onDetach);
      if (bytes.length > 0) this.#waiting.push(bytes);
      this.#source.pause();
      this.#deliver();
    });
    const end = (): void => {
      this.#isEnded = true;
      this.#deliver();
    };
    this.#source.once('end', end);
    // A terminal that was hung up, say.
    this.#source.once('error', end);
  }

  #deliver(): void {
    const target = this.#target;
    if (target === null || target.destroyed) return;
    const chunk = this.#waiting.shift();
    if (chunk !== undefined) target.push(chunk);
    else if (this.#isEnded) target.push(null);
    else this.#source.resume();
  }

  #findDetachKeys(chunk: Buffer, onDetach: () => void): Buffer {
    const [first, second] = DETACH_KEYS;
    const bytes = this.#holdsFirstKey ? Buffer.concat([Buffer.from([first]), chunk]) : chunk;
    const at = bytes.indexOf(Buffer.from([first, second]));
    if (at >= 0) {
      onDetach();
      return bytes.subarray(0, at);
    }
    // The second key may come with the next chunk.
    this.#holdsFirstKey = bytes.at(-1) === first;
    return this.#holdsFirstKey ? bytes.subarray(0, -1) : bytes;
  }
}
