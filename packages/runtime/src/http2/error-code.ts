/** Error codes of HTTP/2 (RFC 9113 section 7). */
export const ERROR_CODE = {
  noError: 0x0,
  protocolError: 0x1,
  internalError: 0x2,
  flowControlError: 0x3,
  settingsTimeout: 0x4,
  streamClosed: 0x5,
  frameSizeError: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compressionError: 0x9,
  connectError: 0xa,
  enhanceYourCalm: 0xb,
  inadequateSecurity: 0xc,
  http11Required: 0xd,
} as const;

/** What a peer did that the protocol or a limit forbids. `reason` quotes no byte of the peer's: any of them may be a credential. */
export interface Http2Fault {
  /** Whether it ended one stream, or the connection. */
  readonly scope: 'stream' | 'connection';
  /** The stream that it was on; 0 for none. */
  readonly streamId: number;
  /** Of {@link ERROR_CODE}: what the peer was told. */
  readonly code: number;
  readonly reason: string;
}

/** Ends the connection with GOAWAY. Thrown and caught inside of this folder. */
export class Http2ConnectionError extends Error {
  override readonly name = 'Http2ConnectionError';
  readonly code: number;

  constructor(code: number, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** A list of fields that must not be sent. Nothing of it has been sent. */
export class Http2FieldError extends Error {
  override readonly name = 'Http2FieldError';
}

export function protocolError(reason: string): Http2ConnectionError {
  return new Http2ConnectionError(ERROR_CODE.protocolError, reason);
}

export function frameSizeError(reason: string): Http2ConnectionError {
  return new Http2ConnectionError(ERROR_CODE.frameSizeError, reason);
}

export function flowControlError(reason: string): Http2ConnectionError {
  return new Http2ConnectionError(ERROR_CODE.flowControlError, reason);
}

/** `ENHANCE_YOUR_CALM`: a bound was reached. */
export function calm(reason: string): Http2ConnectionError {
  return new Http2ConnectionError(ERROR_CODE.enhanceYourCalm, reason);
}
