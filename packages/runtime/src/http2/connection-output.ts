import { DEFAULT_WINDOW_BYTES, FLAG, FRAME, FRAME_HEAD_BYTES, MAX_FRAME_BYTES, writeUint32 } from './frame.ts';
import { FrameWriter } from './frame-writer.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { OpenStream } from './stream.ts';
import type { Http2Output } from './types.ts';

/**
 * What may be written while the socket takes nothing: acknowledgements, resets and heads. Body data wait in their streams. A peer that does not
 * read and still makes us write more is to be ended.
 */
const MAX_BLOCKED_BYTES = 1024 * 1024;
/** When so much waits to be flushed, bodies wait for that. Nothing is written in between: writing can bring about further calls. */
const MAX_TURN_BYTES = 256 * 1024;
/** A piece of a body of that size, or the last one, is answered by two windows and perhaps a ping. */
const EARNING_BYTES = 1024;
const FRAMES_PER_DATA = 3;

/** The sending half of a connection: frames, HPACK, the connection's window, and the order in which streams send their bodies. */
export class ConnectionOutput {
  /** How many body bytes the peer takes for all streams together. */
  sendWindow = DEFAULT_WINDOW_BYTES;
  /** Whether the peer makes us write and does not read. */
  isFlooded = false;
  /** Frames that the peer may send without bringing anything, for the bodies that it was sent: windows and pings. */
  earnedFrames = 0;
  readonly encoder = new HpackEncoder();
  readonly #output: Http2Output;
  readonly #writer = new FrameWriter();
  /** Streams whose body could go on if the connection could: the first one sends a frame, and stands last then. */
  readonly #ready = new Set<OpenStream>();
  #isBlocked = false;
  #blockedBytes = 0;
  #isScheduled = false;
  #isPumping = false;
  #isOver = false;

  constructor(output: Http2Output) {
    this.#output = output;
  }

  /** How many body bytes can be written at this moment. */
  get room(): number {
    const mustWait = this.#isBlocked || this.#isOver || this.#writer.waitingBytes >= MAX_TURN_BYTES;
    return mustWait ? 0 : this.sendWindow;
  }

  /**
   * Writes a list of fields.
   *
   * @throws {Http2FieldError} before anything is written.
   */
  writeFields(
    streamId: number,
    fields: readonly string[],
    ends: boolean,
    neverIndexed?: ReadonlySet<string>,
    isTrailers = false,
  ): void {
    if (this.#isOver) return;
    const room = this.encoder.check(fields, isTrailers);
    const flags = ends ? FLAG.endStream : 0;
    const writer = this.#writer;
    if (room > MAX_FRAME_BYTES) {
      const block = Buffer.allocUnsafe(room);
      this.#writeBlock(streamId, flags, block, this.encoder.write(fields, neverIndexed, block, 0));
      return;
    }
    writer.reserve(room);
    const end = this.encoder.write(fields, neverIndexed, writer.buffer, writer.at + FRAME_HEAD_BYTES);
    writer.finish(FRAME.headers, flags | FLAG.endHeaders, streamId, end);
    this.#wake();
  }

  /** Writes a frame of body data, of which there must be room for. `expectedBytes` tells how many are about to come in further ones. */
  writeData(streamId: number, source: Buffer, start: number, end: number, ends: boolean, expectedBytes = 0): void {
    const length = end - start;
    this.sendWindow -= length;
    // A frame that is small for want of a window earns nothing, or windows of an octet would pay for themselves.
    if (expectedBytes === 0 || length >= EARNING_BYTES) this.earnedFrames += FRAMES_PER_DATA;
    this.#writeFrame(FRAME.data, ends ? FLAG.endStream : 0, streamId, source, start, end, length + expectedBytes);
  }

  /** Ends a stream: in its last frame if that has not left, else by an empty one. */
  writeEnd(streamId: number): void {
    if (this.#isOver || this.#writer.endLast(streamId)) return;
    this.#writeFrame(FRAME.data, FLAG.endStream, streamId, NOTHING, 0, 0);
  }

  writeReset(streamId: number, code: number): void {
    this.#writeNumber(FRAME.reset, streamId, code);
  }

  writeWindowUpdate(streamId: number, bytes: number): void {
    this.#writeNumber(FRAME.windowUpdate, streamId, bytes);
  }

  writeSettings(flags: number, payload: Buffer = NOTHING): void {
    this.#writeFrame(FRAME.settings, flags, 0, payload, 0, payload.length);
  }

  /** Answers a PING with its payload. */
  writePong(source: Buffer, start: number, end: number): void {
    this.#writeFrame(FRAME.ping, FLAG.ack, 0, source, start, end);
  }

  writeGoAway(lastStreamId: number, code: number): void {
    const payload = Buffer.alloc(8);
    writeUint32(payload, 0, lastStreamId);
    writeUint32(payload, 4, code);
    this.#writeFrame(FRAME.goAway, 0, 0, payload, 0, payload.length);
  }

  /** Writes bytes that are no frame: the preface. */
  writeRaw(bytes: Buffer): void {
    this.#writer.raw(bytes);
    this.#wake();
  }

  /** A stream has data that wait, and a window for them. */
  enqueue(stream: OpenStream): void {
    this.#ready.add(stream);
  }

  dequeue(stream: OpenStream): void {
    this.#ready.delete(stream);
  }

  /** Lets waiting streams send, a frame each in turn, as far as there is room. */
  pump(): void {
    // A stream that is told of room sends within this.
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (this.#ready.size > 0 && this.room > 0) {
      const [stream] = this.#ready;
      this.#ready.delete(stream!);
      if (stream!.sendWaiting()) this.#ready.add(stream!);
    }
    this.#isPumping = false;
  }

  drained(): void {
    this.#isBlocked = false;
    this.#blockedBytes = 0;
    this.pump();
  }

  flush(): void {
    this.#isScheduled = false;
    for (const bytes of this.#writer.take()) this.#write(bytes);
    if (this.#ready.size > 0) this.pump();
  }

  /** Nothing is written any more. */
  end(): void {
    if (this.#isOver) return;
    this.flush();
    this.#isOver = true;
    this.#ready.clear();
    this.#output.end();
  }

  #write(bytes: Buffer): void {
    if (this.#isOver) return;
    if (this.#isBlocked) {
      this.#blockedBytes += bytes.length;
      if (this.#blockedBytes > MAX_BLOCKED_BYTES) this.isFlooded = true;
    }
    if (!this.#output.write(bytes)) this.#isBlocked = true;
  }

  #wake(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#output.schedule();
  }

  #writeFrame(
    type: number,
    flags: number,
    streamId: number,
    source: Buffer,
    start: number,
    end: number,
    expectedBytes = end - start,
  ): void {
    if (this.#isOver) return;
    const writer = this.#writer;
    writer.reserve(end - start, expectedBytes);
    const at = writer.at + FRAME_HEAD_BYTES;
    if (end > start) source.copy(writer.buffer, at, start, end);
    writer.finish(type, flags, streamId, at + end - start);
    this.#wake();
  }

  #writeNumber(type: number, streamId: number, value: number): void {
    if (this.#isOver) return;
    const writer = this.#writer;
    writer.reserve(4);
    const at = writer.at + FRAME_HEAD_BYTES;
    writeUint32(writer.buffer, at, value);
    writer.finish(type, 0, streamId, at + 4);
    this.#wake();
  }

  /** A block that may be too long for one frame (RFC 9113 section 6.10). */
  #writeBlock(streamId: number, flags: number, block: Buffer, length: number): void {
    for (let at = 0; at === 0 || at < length; at += MAX_FRAME_BYTES) {
      const end = Math.min(length, at + MAX_FRAME_BYTES);
      const type = at === 0 ? FRAME.headers : FRAME.continuation;
      const frameFlags = (at === 0 ? flags : 0) | (end === length ? FLAG.endHeaders : 0);
      this.#writeFrame(type, frameFlags, streamId, block, at, end, length - at);
    }
  }
}

const NOTHING = Buffer.alloc(0);
