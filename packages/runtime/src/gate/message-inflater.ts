import { constants, createInflateRaw, type InflateRaw } from 'node:zlib';

/** What every compressed message ends with, left out on the wire (RFC 7692 section 7.2.2). */
const MESSAGE_TAIL = Buffer.from([0x00, 0x00, 0xff, 0xff]);

/** Receives what a {@link MessageInflater} makes. */
export interface InflationListener {
  /** A piece of the message. Returns false when no more can be taken until `resume` is called. */
  inflated(data: Buffer): boolean;
  /** Everything that was written has been inflated and handed over. */
  inflationDone(): void;
  /** The data is no DEFLATE data. Nothing is called afterwards. */
  inflationFailed(): void;
}

/**
 * Decompresses the messages of one direction (RFC 7692 section 7.2.2), one piece at a time, in bounded memory however well they
 * were compressed.
 *
 * The window is always the largest and lives as long as the direction, which decodes whatever window and context takeover were agreed on.
 */
export class MessageInflater {
  readonly #listener: InflationListener;
  #inflate: InflateRaw | null = null;
  /** Bytes given to the present stream; what it has not consumed came after a final block. */
  #given = 0;
  #consumed = true;
  #isMessageEnd = false;
  #congested = false;
  #destroyed = false;

  constructor(listener: InflationListener) {
    this.#listener = listener;
  }

  /** Inflates one piece of a message; no other one before `inflationDone`. */
  write(data: Buffer, isMessageEnd: boolean): void {
    if (this.#destroyed) return;
    const inflate = (this.#inflate ??= this.#open());
    const input = isMessageEnd ? Buffer.concat([data, MESSAGE_TAIL]) : data;
    this.#given += input.length;
    this.#isMessageEnd = isMessageEnd;
    this.#consumed = false;
    inflate.write(input, () => {
      this.#consumed = true;
      this.#pump();
    });
  }

  /** The listener can take more. */
  resume(): void {
    if (!this.#congested) return;
    this.#congested = false;
    this.#pump();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#inflate?.destroy();
    this.#inflate = null;
  }

  #open(): InflateRaw {
    const inflate = createInflateRaw({ flush: constants.Z_SYNC_FLUSH });
    this.#given = 0;
    inflate.on('readable', () => this.#pump());
    inflate.on('error', () => {
      if (this.#destroyed || this.#inflate !== inflate) return;
      this.destroy();
      this.#listener.inflationFailed();
    });
    return inflate;
  }

  #pump(): void {
    const inflate = this.#inflate;
    while (inflate !== null && inflate === this.#inflate && !this.#congested) {
      const data = inflate.read() as Buffer | null;
      if (data === null) break;
      if (!this.#listener.inflated(data)) this.#congested = true;
    }
    if (inflate === null || inflate !== this.#inflate || this.#congested || !this.#consumed) return;
    if (inflate.readableLength > 0) return;
    // Not twice for one piece: a later `readable` says nothing new.
    this.#consumed = false;
    if (this.#isMessageEnd && inflate.bytesWritten !== this.#given) {
      // A final block ended the stream, and the window with it (RFC 7692 section 7.2.3.4): the next message begins anew.
      this.#inflate = null;
      inflate.destroy();
    }
    this.#listener.inflationDone();
  }
}
