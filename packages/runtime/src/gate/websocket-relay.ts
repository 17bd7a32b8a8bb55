import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import { ERROR_CODE } from '../http2/error-code.ts';
import type { Redactor, RedactionStream } from '../secrets/redact.ts';
import type { ConnectionSubstitution } from '../secrets/substitute-message.ts';
import { CLOSE_CODE, MAX_CONTROL_PAYLOAD_BYTES, OPCODE, type WebSocketSide } from '../websocket/frame.ts';
import { FrameBoundary } from '../websocket/frame-boundary.ts';
import type { ControlFrame } from '../websocket/frame-decoder.ts';
import { FrameRelay, MessageRefused, type FrameFault, type MessageTransform } from './frame-relay.ts';
import type { Http2StreamDuplex } from './http2-stream-duplex.ts';
import type { Problem } from './problem.ts';
import { writeFrame } from './write-frame.ts';

export interface WebSocketRelayOptions {
  /** Its events are the caller's, who tells them by `clientData` and so on. */
  readonly client: Duplex;
  /** Nobody listens to it yet, and it is not flowing. */
  readonly upstream: Duplex;
  /** Whether permessage-deflate was agreed on. */
  readonly compression: boolean;
  /** Null when the sandbox has nothing that must not come back: then the server's frames are passed on unread. */
  readonly redactor: Redactor | null;
  /** Null when no secret may stand in messages: then the client's frames are passed on as they are. */
  readonly substitution: ConnectionSubstitution | null;
  /** What in the client's frames refuses the connection; null for nothing. Asks for a substitution. */
  readonly check: MessageCheck | null;
  /** How long the upstream may take to end after the gate has ended the connection, in ms. */
  readonly lingerMs: number;
  /** Bytes have moved. */
  readonly onActivity: () => void;
  /** One side has ended; the other one is to do so soon. */
  readonly onClosing: () => void;
  /** Called once. The client's side has been ended, or is gone. */
  readonly onEnd: (end: WebSocketEnd) => void;
}

/** How a WebSocket ended. */
export interface WebSocketEnd {
  readonly decision: 'allow' | 'deny' | 'error';
  readonly code: ErrorCode | null;
  /** As in {@link Problem}. */
  readonly misuse?: NonNullable<Problem['misuse']>;
}

/** Looks for placeholders that must not leave. */
export interface MessageCheck {
  /** Names of secrets whose placeholder stays in a message. */
  readonly names: (stray: Iterable<string>) => Problem | null;
  /** The payload of a control frame. */
  readonly payload: (payload: Buffer) => Problem | null;
}

/** One direction of the relay, read or not. */
interface Direction {
  receive(chunk: Buffer): void;
  drain(): void;
  end(): void;
  stop(): void;
  /** Whether a frame of the gate's own can be put in. */
  readonly canInterject: boolean;
  readonly isClosed: boolean;
}

/**
 * A WebSocket connection after its handshake.
 *
 * Server to client: every data frame is redacted while the sandbox has a value to protect, control frames pass as they are unless they
 * hold a value. Client to server: byte for byte (only where frames end is followed), or with placeholders replaced where a secret with
 * location `websocket` is bound. Whoever breaks the protocol ends the connection: both sides get a close frame with 1002.
 */
export class WebSocketRelay {
  /** Bytes received from the client. */
  sentBytes = 0;
  /** Bytes given to the client. */
  receivedBytes = 0;

  readonly #options: WebSocketRelayOptions;
  readonly #toServer: Direction;
  readonly #toClient: Direction;
  /** Redactions in complete messages and control frames. */
  #redactions = 0;
  /** Counts the redactions in the server's present message. */
  #message: RedactionStream | null = null;
  #clientEnded = false;
  #upstreamEnded = false;
  /** The server has ended its side; what it sent before may still be on its way through. */
  #upstreamSaidEnd = false;
  #ended = false;

  constructor(options: WebSocketRelayOptions) {
    this.#options = options;
    const { client, upstream, redactor, substitution } = options;
    this.#toServer = substitution === null ? this.#passToServer() : this.#substituteToServer(substitution);
    this.#toClient = redactor === null ? this.#passToClient() : this.#redactToClient(redactor);
    upstream.on('data', (chunk: Buffer) => this.#upstreamData(chunk));
    upstream.on('drain', () => this.#toServer.drain());
    upstream.on('end', () => this.#upstreamEnd());
    upstream.on('error', () => upstream.destroy());
    upstream.on('close', () => this.#upstreamGone());
    // The server may end its side before it has read our close frame.
    upstream.allowHalfOpen = true;
    client.resume();
    upstream.resume();
  }

  /** Values that were found and replaced. */
  get redactions(): number {
    return this.#redactions + (this.#message?.matches ?? 0);
  }

  clientData(chunk: Buffer): void {
    if (this.#ended) return;
    this.sentBytes += chunk.length;
    this.#options.onActivity();
    this.#toServer.receive(chunk);
  }

  clientDrain(): void {
    if (!this.#ended) this.#toClient.drain();
  }

  /** The client has ended its side. */
  clientEnd(): void {
    if (!this.#ended) this.#toServer.end();
  }

  /** The client's connection is gone: so is the upstream's. */
  clientGone(): void {
    this.#finish({ decision: 'allow', code: null });
    breakOff(this.#options.upstream);
  }

  /** Takes bytes of the server that came with its handshake. */
  upstreamEarly(chunk: Buffer): void {
    if (chunk.length > 0) this.#upstreamData(chunk);
  }

  /** Ends the connection on both sides with a close frame. */
  close(end: WebSocketEnd, code: number, reason: string): void {
    if (this.#ended) return;
    const { client, upstream } = this.#options;
    if (this.#toClient.canInterject && !this.#toClient.isClosed) this.#writeClose(client, 'server', code, reason);
    if (this.#toServer.canInterject && !this.#toServer.isClosed) this.#writeClose(upstream, 'client', code, reason);
    upstream.end();
    this.#finish(end);
  }

  #writeClose(socket: Duplex, from: WebSocketSide, code: number, reason: string): void {
    if (!socket.writable) return;
    const payload = Buffer.alloc(2 + reason.length);
    payload.writeUInt16BE(code, 0);
    payload.write(reason, 2, 'latin1');
    const frame = { opcode: OPCODE.close, isFinal: true, length: payload.length };
    const { bytes } = writeFrame(socket, frame, [payload], from === 'client');
    if (from === 'server') this.receivedBytes += bytes;
  }

  #upstreamData(chunk: Buffer): void {
    if (this.#ended) return;
    this.#options.onActivity();
    this.#toClient.receive(chunk);
  }

  #upstreamEnd(): void {
    this.#upstreamSaidEnd = true;
    if (!this.#ended) this.#toClient.end();
  }

  /** The upstream's connection is gone. Before its end this is a connection that broke, and so the client's does. */
  #upstreamGone(): void {
    if (this.#ended) return;
    if (this.#upstreamSaidEnd && !isReset(this.#options.upstream)) {
      this.#clientEnded = true;
      if (this.#upstreamEnded) this.#finish({ decision: 'allow', code: null });
      return;
    }
    this.#finish({ decision: 'allow', code: null });
    breakOff(this.#options.client);
  }

  #endUpstream(): void {
    this.#clientEnded = true;
    this.#options.upstream.end();
    if (this.#upstreamEnded) this.#finish({ decision: 'allow', code: null });
    else this.#options.onClosing();
  }

  #endClient(): void {
    this.#upstreamEnded = true;
    this.#options.client.end();
    if (this.#clientEnded) this.#finish({ decision: 'allow', code: null });
    else this.#options.onClosing();
  }

  #finish(end: WebSocketEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#toServer.stop();
    this.#toClient.stop();
    const { upstream, lingerMs } = this.#options;
    if (!upstream.destroyed) {
      // Closing with unread bytes would reset the connection under a close frame; waiting for ever would keep it.
      upstream.resume();
      setTimeout(() => breakOff(upstream), lingerMs).unref();
    }
    this.#options.onEnd(end);
  }

  #fault(side: WebSocketSide, fault: FrameFault): void {
    switch (fault.kind) {
      case 'violation': {
        const decision = side === 'client' ? 'deny' : 'error';
        this.close({ decision, code: 'WEBSOCKET_MALFORMED' }, CLOSE_CODE.protocolError, fault.reason);
        break;
      }
      case 'refused': {
        const { code, misuse } = fault.problem;
        const end: WebSocketEnd = { decision: 'deny', code, ...(misuse === undefined ? {} : { misuse }) };
        this.close(end, CLOSE_CODE.policyViolation, 'a placeholder is not for this place');
        break;
      }
      case 'internal':
        this.close({ decision: 'error', code: 'INTERNAL' }, CLOSE_CODE.internalError, 'the gate failed');
        break;
      default:
        throw new TypeError(`unknown fault ${String(fault satisfies never)}`);
    }
  }

  #passToServer(): Direction {
    const { client, upstream } = this.#options;
    return pass(client, upstream, new FrameBoundary(), null, () => this.#endUpstream());
  }

  #passToClient(): Direction {
    const { client, upstream } = this.#options;
    const count = (bytes: number): void => {
      this.receivedBytes += bytes;
    };
    return pass(upstream, client, new FrameBoundary(), count, () => this.#endClient());
  }

  #substituteToServer(substitution: ConnectionSubstitution): Direction {
    const { client, upstream, compression, check } = this.#options;
    return read(
      new FrameRelay({
        side: 'client',
        compression,
        from: client,
        to: upstream,
        openMessage: (opcode) => {
          const message = substitution.open(opcode === OPCODE.text);
          return check === null ? message : checkMessage(message, () => check.names(substitution.stray));
        },
        passControl: ({ payload }) => {
          const problem = check?.payload(payload) ?? null;
          if (problem !== null) throw new MessageRefused(problem);
          return payload;
        },
        onWritten: () => undefined,
        onFault: (fault) => this.#fault('client', fault),
        onEnd: () => this.#endUpstream(),
      }),
    );
  }

  #redactToClient(redactor: Redactor): Direction {
    const { client, upstream, compression } = this.#options;
    return read(
      new FrameRelay({
        side: 'server',
        compression,
        from: upstream,
        to: client,
        openMessage: () => {
          this.#redactions += this.#message?.matches ?? 0;
          return (this.#message = redactor.stream());
        },
        passControl: (frame) => this.#redactControl(redactor, frame),
        onWritten: (bytes) => {
          this.receivedBytes += bytes;
        },
        onFault: (fault) => this.#fault('server', fault),
        onEnd: () => this.#endClient(),
      }),
    );
  }

  /** Servers quote what they refuse in the reason of a close frame; a ping can carry a value just as well. */
  #redactControl(redactor: Redactor, { opcode, payload }: ControlFrame): Buffer {
    const stream = redactor.stream();
    // Not over the code, which is no text.
    const from = opcode === OPCODE.close ? Math.min(2, payload.length) : 0;
    const text = stream.finish(payload.subarray(from));
    if (stream.matches === 0) return payload;
    this.#redactions += stream.matches;
    return Buffer.concat([payload.subarray(0, from), cutText(text, MAX_CONTROL_PAYLOAD_BYTES - from)]);
  }
}

/** A message of which nothing is passed on behind what refuses it. */
function checkMessage(message: MessageTransform, check: () => Problem | null): MessageTransform {
  const pass = (output: Buffer): Buffer => {
    const problem = check();
    if (problem !== null) throw new MessageRefused(problem);
    return output;
  };
  return { push: (piece) => pass(message.push(piece)), finish: (piece) => pass(message.finish(piece)) };
}

/** A direction whose messages are read. */
function read(relay: FrameRelay): Direction {
  return {
    receive: (chunk) => relay.receive(chunk),
    drain: () => relay.drain(),
    end: () => relay.end(),
    stop: () => relay.stop(),
    // It writes whole frames only.
    canInterject: true,
    get isClosed() {
      return relay.isClosed;
    },
  };
}

/** A direction whose bytes pass as they are. */
function pass(
  from: Duplex,
  to: Duplex,
  boundary: FrameBoundary,
  count: ((bytes: number) => void) | null,
  onEnd: () => void,
): Direction {
  return {
    receive(chunk) {
      boundary.follow(chunk);
      count?.(chunk.length);
      if (!to.write(chunk)) from.pause();
    },
    drain: () => void from.resume(),
    end: onEnd,
    stop: () => undefined,
    get canInterject() {
      return boundary.isBetweenFrames;
    },
    get isClosed() {
      return boundary.isClosed;
    },
  };
}

/** A socket, or a stream of HTTP/2. */
type Connection = Duplex & Partial<Pick<Http2StreamDuplex, 'rstCode' | 'close'>>;

/** Whether this is a stream of HTTP/2 that was reset. */
function isReset(connection: Connection): boolean {
  return (connection.rstCode ?? 0) !== 0;
}

/** Ends a connection so that its peer sees that it broke: a stream of HTTP/2 by a reset (RFC 8441 section 5). */
export function breakOff(connection: Connection): void {
  if (connection.close === undefined) connection.destroy();
  else connection.close(ERROR_CODE.cancel);
}

/** At most `maxBytes` of a text, and no part of a character of UTF-8. */
function cutText(text: Buffer, maxBytes: number): Buffer {
  if (text.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && (text[end]! & 0xc0) === 0x80) end -= 1;
  return text.subarray(0, end);
}
