import type {
  Http2ConnectionOptions,
  Http2PeerSettings,
  Http2Stream,
  Http2StreamListener,
  SendHeadOptions,
} from './types.ts';

/**
 * One HTTP/2 connection (RFC 9113), either side of it, without input and output: bytes go in by `receive`, and out by `Http2Output`.
 *
 * Its preface and settings are written on construction.
 */
export class Http2Connection {
  constructor(_options: Http2ConnectionOptions) {
    throw new TypeError('to be written');
  }

  /** The settings of the peer, which are the defaults until it has sent some. */
  get peerSettings(): Http2PeerSettings {
    throw new TypeError('to be written');
  }

  /** Whether the peer has sent its settings. */
  get hasPeerSettings(): boolean {
    throw new TypeError('to be written');
  }

  /** Streams that are open. */
  get streamCount(): number {
    throw new TypeError('to be written');
  }

  /** Client's side: whether a further stream can be opened at this moment. */
  get hasRoom(): boolean {
    throw new TypeError('to be written');
  }

  /** Whether the connection is over. */
  get isClosed(): boolean {
    throw new TypeError('to be written');
  }

  /** Takes bytes of the peer's. Never throws for what they say; listeners must not throw. */
  receive(_chunk: Buffer): void {}

  /** The peer has ended its side of the socket, or the socket is gone: the connection is over. */
  receiveEnd(): void {}

  /** The socket takes bytes again. */
  drained(): void {}

  /** Writes what waits. */
  flush(): void {}

  /**
   * Client's side: opens a stream with a request. `Http2StreamListener.closed` is always called in the end, from now on at the earliest.
   *
   * @throws {Http2FieldError} for fields that HTTP/2 does not allow; nothing has been sent then.
   * @throws {RangeError} without room ({@link hasRoom}).
   */
  request(_fields: readonly string[], _options: SendHeadOptions, _listener: Http2StreamListener): Http2Stream {
    throw new TypeError('to be written');
  }

  /** Takes or opens no more streams (GOAWAY), and ends the connection once the last one has closed. */
  close(): void {}

  /** Ends the connection at once: GOAWAY with this code is written, streams are reset with `cancel`. Default `noError`. */
  destroy(_code?: number): void {}
}
