import type { Duplex } from 'node:stream';
import { OPCODE, type MessageOpcode, type WebSocketSide } from '../websocket/frame.ts';
import { FrameDecoder, type ControlFrame, type DataPiece } from '../websocket/frame-decoder.ts';
import { WebSocketSyntaxError } from '../websocket/websocket-syntax-error.ts';
import { MAX_GATHERED_FRAME_BYTES } from './limits.ts';
import { MessageInflater } from './message-inflater.ts';
import type { Problem } from './problem.ts';
import { writeFrame, type UnmaskedFrame } from './write-frame.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/** Pieces of one frame that are kept apart; more are joined, or a frame that comes byte by byte would cost a hundred times its length. */
const MAX_LOOSE_PIECES = 256;

/** What happens to one message: a redaction or a substitution stream. */
export interface MessageTransform {
  push(piece: Buffer): Buffer;
  /** A last piece and the end. Cheaper than both apart: nothing has to be kept in mind. */
  finish(piece: Buffer): Buffer;
}

/** Why a direction cannot go on. */
export type FrameFault =
  | { readonly kind: 'violation'; readonly reason: string }
  /** A message must not be passed on. */
  | { readonly kind: 'refused'; readonly problem: Problem }
  /** A fault of the gate's own. */
  | { readonly kind: 'internal' };

/** Thrown by whoever reads messages: this one must not be passed on. */
export class MessageRefused extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

export interface FrameRelayOptions {
  /** Who sends the frames. */
  readonly side: WebSocketSide;
  readonly compression: boolean;
  readonly from: Duplex;
  readonly to: Duplex;
  /** Starts a message. A transform never sees two, so nothing is found across messages. */
  readonly openMessage: (opcode: MessageOpcode) => MessageTransform;
  /** The payload with which a control frame is passed on: at most 125 bytes. */
  readonly passControl: (frame: ControlFrame) => Buffer;
  /** Bytes have been written. */
  readonly onWritten: (bytes: number) => void;
  readonly onFault: (fault: FrameFault) => void;
  /** The sender has ended, and everything it sent has been written. */
  readonly onEnd: () => void;
}

/**
 * One direction of a WebSocket whose messages are read: frames in, each message through its transform, frames out.
 *
 * A frame becomes one frame, a long one several fragments. Compressed messages (RFC 7692) are sent on uncompressed, which a peer that
 * agreed to compression must take (section 6): there is no second window to keep, and what the receiver reads is what was searched.
 * Frames are handled strictly one after the other, so control frames keep their place.
 */
export class FrameRelay {
  readonly #options: FrameRelayOptions;
  readonly #decoder: FrameDecoder;
  readonly #masks: boolean;
  #inflater: MessageInflater | null = null;
  #transform: MessageTransform | null = null;
  /** The piece that is being inflated: everything after it waits in `#backlog`. */
  #inflating: DataPiece | null = null;
  #backlog: Buffer[] = [];
  /** What the present frame has become so far. */
  #output: Buffer[] = [];
  #outputBytes = 0;
  #isFirstFrame = true;
  #congested = false;
  #inputEnded = false;
  #isStopped = false;

  constructor(options: FrameRelayOptions) {
    this.#options = options;
    this.#decoder = new FrameDecoder(options);
    this.#masks = options.side === 'client';
  }

  /** Whether a close frame has been passed on. */
  get isClosed(): boolean {
    return this.#decoder.isClosed;
  }

  /** Takes bytes of the sender. They are the relay's from then on. */
  receive(chunk: Buffer): void {
    if (this.#isStopped) return;
    if (this.#inflating !== null) this.#backlog.push(chunk);
    else this.#process(chunk);
    this.#steer();
  }

  /** The sender has ended. */
  end(): void {
    this.#inputEnded = true;
    if (this.#inflating === null) this.#finish();
  }

  /** The receiver can take more. */
  drain(): void {
    if (this.#isStopped) return;
    this.#congested = false;
    this.#inflater?.resume();
    this.#steer();
  }

  /** Lets go of everything; nothing is written afterwards. */
  stop(): void {
    this.#isStopped = true;
    this.#inflater?.destroy();
    this.#backlog = [];
    this.#output = [];
  }

  #process(chunk: Buffer): void {
    const { to } = this.#options;
    to.cork();
    try {
      let offset = 0;
      while (offset < chunk.length && !this.#isStopped) {
        offset = this.#decoder.decode(chunk, offset);
        const { event } = this.#decoder;
        if (event === null) continue;
        if (event.kind === 'control') {
          this.#writeControl(event);
        } else {
          this.#take(event);
          if (this.#inflating !== null) {
            if (offset < chunk.length) this.#backlog.unshift(chunk.subarray(offset));
            break;
          }
        }
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      to.uncork();
    }
  }

  #take(piece: DataPiece): void {
    if (piece.isMessageStart) {
      this.#transform = this.#options.openMessage(piece.opcode);
      this.#isFirstFrame = true;
    }
    // The end of a compressed message has to be inflated even when nothing comes before it.
    if (piece.isCompressed && (piece.payload.length > 0 || piece.isMessageEnd)) {
      this.#inflating = piece;
      this.#inflater ??= this.#openInflater();
      this.#inflater.write(piece.payload, piece.isMessageEnd);
      return;
    }
    if (piece.isMessageEnd) {
      this.#endMessage(piece, piece.payload);
      return;
    }
    this.#pass(piece.payload, piece.opcode);
    if (piece.isFrameEnd) this.#writeData(piece.opcode, false);
  }

  #openInflater(): MessageInflater {
    return new MessageInflater({
      inflated: (data) => {
        const piece = this.#inflating;
        if (piece === null || this.#isStopped) return false;
        try {
          this.#pass(data, piece.opcode);
        } catch (error) {
          this.#fail(error);
        }
        return !this.#congested;
      },
      inflationDone: () => this.#resume(),
      inflationFailed: () => this.#fail(new WebSocketSyntaxError('COMPRESSION', 'a message does not decompress')),
    });
  }

  /** Goes on behind the piece that has been inflated. */
  #resume(): void {
    const piece = this.#inflating;
    if (piece === null || this.#isStopped) return;
    this.#inflating = null;
    try {
      // That a piece was the last of its message shows only when the inflater has nothing more.
      if (piece.isMessageEnd) this.#endMessage(piece, NOTHING);
      else if (piece.isFrameEnd) this.#writeData(piece.opcode, false);
    } catch (error) {
      this.#fail(error);
    }
    while (this.#inflating === null && !this.#isStopped) {
      const chunk = this.#backlog.shift();
      if (chunk === undefined) break;
      this.#process(chunk);
    }
    this.#steer();
    if (this.#inflating === null && this.#inputEnded) this.#finish();
  }

  #pass(payload: Buffer, opcode: MessageOpcode): void {
    const transform = this.#transform;
    if (transform === null) throw new TypeError('a payload belongs to no message');
    this.#gather(transform.push(payload), opcode);
  }

  #endMessage({ opcode }: DataPiece, rest: Buffer): void {
    const transform = this.#transform;
    if (transform === null) throw new TypeError('a payload belongs to no message');
    this.#transform = null;
    this.#gather(transform.finish(rest), opcode);
    this.#writeData(opcode, true);
  }

  #gather(data: Buffer, opcode: MessageOpcode): void {
    if (data.length === 0) return;
    this.#output.push(data);
    this.#outputBytes += data.length;
    if (this.#outputBytes > MAX_GATHERED_FRAME_BYTES) this.#writeData(opcode, false);
    else if (this.#output.length > MAX_LOOSE_PIECES) this.#output = [Buffer.concat(this.#output)];
  }

  #writeData(opcode: MessageOpcode, isFinal: boolean): void {
    const pieces = this.#output;
    const length = this.#outputBytes;
    this.#output = [];
    this.#outputBytes = 0;
    const frame = { opcode: this.#isFirstFrame ? opcode : OPCODE.continuation, isFinal, length };
    this.#isFirstFrame = false;
    this.#write(frame, pieces);
  }

  #writeControl(frame: ControlFrame): void {
    const payload = this.#options.passControl(frame);
    this.#write({ opcode: frame.opcode, isFinal: true, length: payload.length }, [payload]);
  }

  #write(frame: UnmaskedFrame, pieces: readonly Buffer[]): void {
    const written = writeFrame(this.#options.to, frame, pieces, this.#masks);
    if (!written.flowing) this.#congested = true;
    this.#options.onWritten(written.bytes);
  }

  /** Reads on only while the receiver takes what comes, and nothing waits to be inflated. */
  #steer(): void {
    const { from } = this.#options;
    if (this.#isStopped) return;
    if (this.#congested || this.#inflating !== null) from.pause();
    else from.resume();
  }

  #finish(): void {
    if (this.#isStopped) return;
    this.stop();
    this.#options.onEnd();
  }

  #fail(error: unknown): void {
    if (this.#isStopped) return;
    this.stop();
    if (error instanceof WebSocketSyntaxError) this.#options.onFault({ kind: 'violation', reason: error.message });
    else if (error instanceof MessageRefused) this.#options.onFault({ kind: 'refused', problem: error.problem });
    else this.#options.onFault({ kind: 'internal' });
  }
}
