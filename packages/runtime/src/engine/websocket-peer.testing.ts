import { createHash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { constants, deflateRawSync } from 'node:zlib';
import type { WebSocketSide } from '../websocket/frame.ts';
import { FrameDecoder } from '../websocket/frame-decoder.ts';
import { encodeFrameHeader, type OutgoingFrame } from '../websocket/frame-header.ts';
import { applyMask } from '../websocket/mask.ts';

/** One end of a WebSocket in a test: frames out, messages and control frames in. */
export class Peer {
  readonly socket: Duplex;
  readonly side: WebSocketSide;
  /** What came: `1 text`, `2 binary`, `9 ping`, and `| ` before each further fragment. */
  readonly seen: string[] = [];
  /** Everything that came, as it came. */
  raw = '';
  ended = false;
  #waiting: (() => void)[] = [];
  #message = '';

  constructor(socket: Duplex, side: WebSocketSide, compression = false) {
    this.socket = socket;
    this.side = side;
    const decoder = new FrameDecoder({ side: side === 'client' ? 'server' : 'client', compression });
    socket.on('data', (chunk: Buffer) => {
      this.raw += chunk.toString('latin1');
      let offset = 0;
      while (offset < chunk.length) {
        offset = decoder.decode(chunk, offset);
        const { event } = decoder;
        if (event === null) continue;
        if (event.kind === 'control') {
          this.seen.push(`${event.opcode} ${event.payload.toString('latin1')}`);
          continue;
        }
        if (event.isMessageStart) this.#message = `${event.opcode}${event.isCompressed ? 'z' : ''} `;
        this.#message += event.payload.toString('latin1');
        if (event.isMessageEnd) this.seen.push(this.#message);
        else if (event.isFrameEnd) this.#message += '|';
      }
      this.#wake();
    });
    socket.on('end', () => {
      this.ended = true;
      this.#wake();
    });
    socket.on('close', () => {
      this.ended = true;
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.resume();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(isDone: () => boolean): Promise<void> {
    while (!isDone()) {
      if (this.ended) throw new Error(`the connection ended after ${JSON.stringify(this.seen)}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async untilEnd(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Waits for that many messages and control frames, and takes them. */
  async take(count: number): Promise<string[]> {
    await this.until(() => this.seen.length >= count);
    return this.seen.splice(0, count);
  }

  send(opcode: number, payload: string | Buffer = '', options: { isFinal?: boolean; rsv1?: boolean } = {}): void {
    this.socket.write(this.frame(opcode, payload, options));
  }

  frame(opcode: number, payload: string | Buffer, { isFinal = true, rsv1 = false } = {}): Buffer {
    return frameBytes(this.side, opcode, payload, { isFinal, rsv1 });
  }
}

/** One frame as that side sends it. */
export function frameBytes(
  side: WebSocketSide,
  opcode: number,
  payload: string | Buffer,
  { isFinal = true, rsv1 = false } = {},
): Buffer {
  const bytes = Buffer.from(payload);
  const mask = side === 'client' ? randomBytes(4).readInt32BE() : null;
  const header = encodeFrameHeader({ opcode: opcode as OutgoingFrame['opcode'], isFinal, length: bytes.length, mask });
  if (rsv1) header[0]! |= 0x40;
  if (mask !== null) applyMask(bytes, mask, 0);
  return Buffer.concat([header, bytes]);
}

/** The code of a close frame as a peer has noted it. */
export function closeCode(seen = ''): number | null {
  return seen.startsWith('8 ') ? Buffer.from(seen.slice(2), 'latin1').readUInt16BE(0) : null;
}

/** The compressed form of a message (RFC 7692 section 7.2.1). */
export function deflate(text: string | Buffer): Buffer {
  return deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
}

/** What answers a key (RFC 6455 section 4.2.2). */
export function acceptFor(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
