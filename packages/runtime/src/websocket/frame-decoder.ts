import {
  isCloseCode,
  MASK_BYTES,
  MAX_CONTROL_PAYLOAD_BYTES,
  MAX_FRAME_HEADER_BYTES,
  OPCODE,
  type ControlOpcode,
  type MessageOpcode,
  type WebSocketSide,
} from './frame.ts';
import { applyMask } from './mask.ts';
import { WebSocketSyntaxError } from './websocket-syntax-error.ts';

const NOTHING = Buffer.alloc(0);

/** What a {@link FrameDecoder} takes for granted. */
export interface FrameDecoderOptions {
  /** Who sends the frames. */
  readonly side: WebSocketSide;
  /** Whether permessage-deflate was agreed on, so that RSV1 has a meaning (RFC 7692 section 6). */
  readonly compression: boolean;
}

/** A piece of a message. A frame's payload comes in one or more of them, an empty frame in one that is empty. */
export interface DataPiece {
  readonly kind: 'data';
  readonly opcode: MessageOpcode;
  /** Whether the message is compressed, of which only its first frame tells. */
  readonly isCompressed: boolean;
  /** Unmasked; a view of the chunk. */
  readonly payload: Buffer;
  readonly isMessageStart: boolean;
  readonly isFrameEnd: boolean;
  readonly isMessageEnd: boolean;
}

/** A whole control frame. */
export interface ControlFrame {
  readonly kind: 'control';
  readonly opcode: ControlOpcode;
  /** Unmasked; the decoder keeps no reference. */
  readonly payload: Buffer;
}

/**
 * Takes frames out of the chunks of one direction of a connection: strict by RFC 6455 section 5, and without gathering messages.
 *
 * Refused: reserved bits and opcodes, a mask from a server or none from a client, lengths not in their shortest form or above 2^53 - 1,
 * fragmented or long control frames, malformed close payloads, continuations of nothing and messages inside messages. What comes after
 * a close frame is passed over (section 5.5.1). Whether text is UTF-8 is for the endpoints to say.
 *
 * @example
 * ```ts
 * while (offset < chunk.length) {
 *   offset = decoder.decode(chunk, offset);
 *   if (decoder.event !== null) handle(decoder.event);
 * }
 * ```
 */
export class FrameDecoder {
  /** What the last `decode` found. */
  event: DataPiece | ControlFrame | null = null;
  /** Whether a close frame has come. */
  isClosed = false;

  readonly #masked: boolean;
  readonly #compression: boolean;
  readonly #header = Buffer.alloc(MAX_FRAME_HEADER_BYTES);
  #headerBytes = 0;
  /** How long the header is, as far as it is known. */
  #headerLength = 2;
  #inPayload = false;
  #opcode = 0;
  #isFinal = false;
  #key = 0;
  /** Payload bytes of the present frame: in all, and still to come. */
  #length = 0;
  #left = 0;
  #message: { readonly opcode: MessageOpcode; readonly isCompressed: boolean } | null = null;
  #isMessageStart = false;
  /** The payload of a control frame, gathered. */
  #control: Buffer = NOTHING;

  constructor(options: FrameDecoderOptions) {
    this.#masked = options.side === 'client';
    this.#compression = options.compression;
  }

  /** Whether the bytes read so far end with a whole frame. */
  get isBetweenFrames(): boolean {
    return this.#headerBytes === 0 && !this.#inPayload;
  }

  /**
   * Reads on at `chunk[offset]` and returns the offset after what it took, at most one event's bytes; more than `offset` unless nothing
   * is there. Payload is unmasked in place: the chunk is the decoder's from then on. A decoder that threw cannot be used any more.
   *
   * @throws {WebSocketSyntaxError}
   */
  decode(chunk: Buffer, offset: number): number {
    this.event = null;
    if (this.isClosed) return chunk.length;
    let at = offset;
    if (!this.#inPayload) {
      at = this.#readHeader(chunk, at);
      if (!this.#inPayload) return at;
    }
    return this.#opcode >= OPCODE.close ? this.#readControl(chunk, at) : this.#readData(chunk, at);
  }

  #readHeader(chunk: Buffer, start: number): number {
    const header = this.#header;
    let at = start;
    while (at < chunk.length) {
      header[this.#headerBytes++] = chunk[at++]!;
      if (this.#headerBytes === 2) this.#readPrefix(header[0]!, header[1]!);
      if (this.#headerBytes === this.#headerLength) {
        this.#beginFrame();
        break;
      }
    }
    return at;
  }

  /** The first two bytes: everything that can be refused without the rest, and how long the header is. */
  #readPrefix(first: number, second: number): void {
    const opcode = first & 0x0f;
    const isFinal = (first & 0x80) !== 0;
    const length = second & 0x7f;
    if ((first & 0x30) !== 0) throw new WebSocketSyntaxError('RESERVED_BITS', 'a reserved bit is set');
    const isCompressed = (first & 0x40) !== 0;
    if (((second & 0x80) !== 0) !== this.#masked) {
      throw new WebSocketSyntaxError('MASK', this.#masked ? 'a client frame has no mask' : 'a server frame has a mask');
    }
    switch (opcode) {
      case OPCODE.continuation:
        if (this.#message === null) throw new WebSocketSyntaxError('CONTINUATION', 'a continuation of no message');
        if (isCompressed) throw new WebSocketSyntaxError('RESERVED_BITS', 'RSV1 is set inside a message');
        break;
      case OPCODE.text:
      case OPCODE.binary:
        if (this.#message !== null) throw new WebSocketSyntaxError('CONTINUATION', 'a message inside a message');
        if (isCompressed && !this.#compression) {
          throw new WebSocketSyntaxError('RESERVED_BITS', 'RSV1 is set, but compression was not agreed on');
        }
        this.#message = { opcode, isCompressed };
        this.#isMessageStart = true;
        break;
      case OPCODE.close:
      case OPCODE.ping:
      case OPCODE.pong:
        if (isCompressed) throw new WebSocketSyntaxError('RESERVED_BITS', 'RSV1 is set in a control frame');
        if (!isFinal) throw new WebSocketSyntaxError('FRAGMENTED_CONTROL', 'a control frame is fragmented');
        if (length > MAX_CONTROL_PAYLOAD_BYTES) {
          throw new WebSocketSyntaxError('CONTROL_TOO_LONG', 'a control frame is longer than 125 bytes');
        }
        if (opcode === OPCODE.close && length === 1) {
          throw new WebSocketSyntaxError('CLOSE_PAYLOAD', 'a close frame has half a code');
        }
        break;
      default:
        throw new WebSocketSyntaxError('RESERVED_OPCODE', 'an opcode is reserved');
    }
    this.#opcode = opcode;
    this.#isFinal = isFinal;
    const extended = length === 126 ? 2 : length === 127 ? 8 : 0;
    this.#headerLength = 2 + extended + (this.#masked ? MASK_BYTES : 0);
  }

  #beginFrame(): void {
    const header = this.#header;
    let length = header[1]! & 0x7f;
    if (length === 126) {
      length = header.readUInt16BE(2);
      if (length < 126) throw new WebSocketSyntaxError('LENGTH', 'a length is not in its shortest form');
    } else if (length === 127) {
      const high = header.readUInt32BE(2);
      length = high * 0x1_0000_0000 + header.readUInt32BE(6);
      if (length < 0x10000) throw new WebSocketSyntaxError('LENGTH', 'a length is not in its shortest form');
      if (length > Number.MAX_SAFE_INTEGER) throw new WebSocketSyntaxError('LENGTH', 'a frame is longer than 2^53 - 1');
    }
    this.#key = this.#masked ? header.readInt32BE(this.#headerLength - MASK_BYTES) : 0;
    this.#length = length;
    this.#left = length;
    this.#headerBytes = 0;
    this.#headerLength = 2;
    this.#inPayload = true;
  }

  #readControl(chunk: Buffer, start: number): number {
    const end = Math.min(chunk.length, start + this.#left);
    const piece = chunk.subarray(start, end);
    this.#control = this.#control.length === 0 ? piece : Buffer.concat([this.#control, piece]);
    this.#left -= end - start;
    if (this.#left > 0) {
      // The chunk is not ours to keep.
      if (this.#control === piece) this.#control = Buffer.from(piece);
      return end;
    }
    const payload = this.#control;
    this.#control = NOTHING;
    this.#inPayload = false;
    applyMask(payload, this.#key, 0);
    const opcode = this.#opcode as ControlOpcode;
    if (opcode === OPCODE.close) {
      if (payload.length >= 2 && !isCloseCode(payload.readUInt16BE(0))) {
        throw new WebSocketSyntaxError('CLOSE_PAYLOAD', 'a close frame has a code that must not be sent');
      }
      this.isClosed = true;
    }
    this.event = { kind: 'control', opcode, payload };
    return end;
  }

  #readData(chunk: Buffer, start: number): number {
    const message = this.#message;
    if (message === null) throw new TypeError('a data frame belongs to no message');
    const end = Math.min(chunk.length, start + this.#left);
    // Nothing of the payload is there yet.
    if (end === start && this.#left > 0) return end;
    const payload = start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end);
    applyMask(payload, this.#key, this.#length - this.#left);
    this.#left -= end - start;
    const isFrameEnd = this.#left === 0;
    const isMessageEnd = isFrameEnd && this.#isFinal;
    this.event = {
      kind: 'data',
      opcode: message.opcode,
      isCompressed: message.isCompressed,
      payload,
      isMessageStart: this.#isMessageStart,
      isFrameEnd,
      isMessageEnd,
    };
    this.#isMessageStart = false;
    if (isFrameEnd) this.#inPayload = false;
    if (isMessageEnd) this.#message = null;
    return end;
  }
}
