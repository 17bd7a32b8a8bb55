import type { Duplex } from 'node:stream';

/** A field of a header list as it goes on the wire; Latin-1. */
export type WireField = readonly [name: string, value: string];

/** One frame (RFC 9113 section 4.1). */
export interface WireFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** RFC 9113 section 6. */
export const FRAME = {
  data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9,
} as const; // prettier-ignore
/** Flags of those frames. */
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HEAD_BYTES = 9;

/** The bytes of a frame. */
export function encodeFrame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals that are neither indexed nor Huffman coded (RFC 7541 section 6.2.2). Nothing is checked. */
export function encodeFields(fields: readonly WireField[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), encodeLiteral(name), encodeLiteral(value)]));
}

/** A string literal without Huffman coding (RFC 7541 section 5.2). */
export function encodeLiteral(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const prefix: number[] = [Math.min(bytes.length, 127)];
  if (bytes.length >= 127) {
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) prefix.push((rest & 127) | 128);
    prefix.push(rest);
  }
  return Buffer.concat([Buffer.from(prefix), bytes]);
}

/** A client of HTTP/2 that sends whatever frames a test likes, and notes the frames that come. */
export class WireClient {
  readonly frames: WireFrame[] = [];
  ended = false;
  readonly #socket: Duplex;
  #pending: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  /** Sends the preface and empty settings. */
  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.ended = true;
        this.#wake();
      });
    }
    socket.write(PREFACE, 'latin1');
    this.send(FRAME.settings, 0, 0);
  }

  send(type: number, flags: number, stream: number, payload?: Buffer): void {
    this.sendRaw(encodeFrame(type, flags, stream, payload));
  }

  sendRaw(bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  /** A request whose stream ends with its head. */
  request(stream: number, fields: readonly WireField[]): void {
    this.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream, encodeFields(fields));
  }

  /** Waits until a frame has come that fits, and gives it; null when the connection ends without one. */
  async until(fits: (frame: WireFrame) => boolean): Promise<WireFrame | null> {
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined || this.ended) return found ?? null;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Waits until the other side has ended the connection. */
  async untilEnd(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** What became of a request: the status of its answer where HPACK has an index for it, a reset, or the end of the connection. */
  async outcomeOf(stream: number): Promise<string> {
    const { headers, reset, goaway } = FRAME;
    const frame = await this.until(
      ({ type, stream: id }) => type === goaway || (id === stream && (type === headers || type === reset)),
    );
    if (frame === null) return 'closed';
    if (frame.type === goaway) return `goaway ${frame.payload.readUInt32BE(4)}`;
    if (frame.type === reset) return `reset ${frame.payload.readUInt32BE(0)}`;
    // RFC 7541 appendix A.
    return { 0x88: '200', 0x8c: '400', 0x8d: '404', 0x8e: '500' }[frame.payload[0]!] ?? 'answered';
  }

  /** Bytes that have not been taken from here. */
  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  /** Reads nothing more. */
  pause(): void {
    this.#socket.pause();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let data = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (data.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + data.readUIntBE(0, 3);
      if (data.length < end) break;
      const type = data.readUInt8(3);
      const flags = data.readUInt8(4);
      const stream = data.readUInt32BE(5) & 0x7fff_ffff;
      this.frames.push({ type, flags, stream, payload: Buffer.from(data.subarray(HEAD_BYTES, end)) });
      if (type === FRAME.settings && (flags & FLAG.ack) === 0) this.send(FRAME.settings, FLAG.ack, 0);
      data = data.subarray(end);
    }
    this.#pending = Buffer.from(data);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
