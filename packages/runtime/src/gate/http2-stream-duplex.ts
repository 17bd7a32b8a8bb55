import { Duplex } from 'node:stream';
import { ERROR_CODE } from '../http2/error-code.ts';
import type { Http2Stream } from '../http2/types.ts';

type Callback = (error?: Error | null) => void;

/** A stream of HTTP/2 as bytes in two directions, for what follows an extended CONNECT (RFC 8441). */
export class Http2StreamDuplex extends Duplex {
  /** The code with which the stream was reset by either side; 0 when it was not. */
  rstCode = 0;
  readonly #stream: Http2Stream;
  /** Of a write that waits for room. */
  #written: Callback | null = null;
  /** Of the end of our side, which has come when the stream is over: until then it can be reset. */
  #finished: Callback | null = null;

  /** Listens to the stream from here on. `onOver` is called once, when the stream is over in both directions. */
  constructor(stream: Http2Stream, onOver: () => void) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    let hasEnded = false;
    stream.pause();
    stream.listener = {
      interim: () => undefined,
      head: () => undefined,
      data: (bytes) => {
        if (!this.push(bytes)) stream.pause();
      },
      end: () => {
        hasEnded = true;
        this.push(null);
      },
      reset: (code) => {
        this.rstCode = code;
      },
      drain: () => this.#settleWrite(),
      closed: () => {
        this.#settleWrite();
        onOver();
        // A reset behind the end, too, says that the connection broke.
        if (this.rstCode === 0) this.rstCode = stream.resetCode ?? 0;
        // Behind both ends there may be something left to read; what was cut off is not read to its end.
        if (!hasEnded || this.rstCode !== 0) this.destroy();
        else this.#settleFinal();
      },
    };
    // 'close' follows.
    this.on('error', () => undefined);
  }

  /** Resets the stream. */
  close(code: number): void {
    this.rstCode = code;
    this.#stream.reset(code);
    this.destroy();
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    if (this.#stream.sendData(chunk) || this.#stream.isClosed) callback();
    else this.#written = callback;
  }

  override _final(callback: Callback): void {
    this.#finished = callback;
    this.#stream.end();
    if (this.#stream.isClosed) this.#settleFinal();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    // Nothing happens to a stream that is over.
    this.#stream.reset(this.rstCode === 0 ? ERROR_CODE.cancel : this.rstCode);
    callback(error);
  }

  #settleWrite(): void {
    const callback = this.#written;
    this.#written = null;
    callback?.();
  }

  #settleFinal(): void {
    const callback = this.#finished;
    this.#finished = null;
    if (!this.destroyed) callback?.();
  }
}
