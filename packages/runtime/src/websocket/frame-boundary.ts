import { MASK_BYTES, OPCODE } from './frame.ts';

/**
 * Follows the frames of a direction that is passed on as it comes: reads opcode and length of each, unmasks and judges nothing.
 *
 * What for: a close frame of the gate's own may only be put in between two frames, and not after another close frame.
 */
export class FrameBoundary {
  /** Whether a close frame has begun. */
  isClosed = false;
  /** Bytes of the present header that were read; 0 between frames and in what follows a header. */
  #headerBytes = 0;
  #lengthBytes = 0;
  #length = 0;
  #maskBytes = 0;
  /** Bytes of masking key and payload that are still to come. */
  #left = 0;

  /** Whether the bytes read so far end with a whole frame. */
  get isBetweenFrames(): boolean {
    return this.#headerBytes === 0 && this.#left === 0;
  }

  /** Takes the next bytes. */
  follow(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
      } else {
        this.#readHeaderByte(chunk[at]!);
        at += 1;
      }
    }
  }

  #readHeaderByte(byte: number): void {
    const index = this.#headerBytes;
    this.#headerBytes += 1;
    if (index === 0) {
      if ((byte & 0x0f) === OPCODE.close) this.isClosed = true;
      return;
    }
    if (index === 1) {
      const length = byte & 0x7f;
      this.#lengthBytes = length === 126 ? 2 : length === 127 ? 8 : 0;
      this.#length = this.#lengthBytes === 0 ? length : 0;
      this.#maskBytes = (byte & 0x80) === 0 ? 0 : MASK_BYTES;
    } else {
      this.#length = this.#length * 0x100 + byte;
    }
    if (this.#headerBytes === 2 + this.#lengthBytes) {
      this.#left = this.#maskBytes + this.#length;
      this.#headerBytes = 0;
    }
  }
}
