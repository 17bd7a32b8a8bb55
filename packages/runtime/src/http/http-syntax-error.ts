/**
 * What a peer did that RFC 9112 (or a limit of ours) forbids. Append-only.
 *
 * `UNENCODABLE` is the encoder's own: a head that must not be written.
 */
export type HttpSyntaxCode =
  | 'HEAD_TOO_LARGE'
  | 'HEAD_INCOMPLETE'
  | 'TOO_MANY_FIELDS'
  | 'BARE_CR'
  | 'BARE_LF'
  | 'REQUEST_LINE'
  | 'METHOD'
  | 'TARGET'
  | 'VERSION'
  | 'STATUS_LINE'
  | 'FIELD_NAME'
  | 'FIELD_VALUE'
  | 'SPACE_BEFORE_COLON'
  | 'OBS_FOLD'
  | 'CONTENT_LENGTH'
  | 'TRANSFER_ENCODING'
  | 'CONFLICTING_FRAMING'
  | 'CHUNK_SIZE'
  | 'CHUNK_EXTENSION'
  | 'CHUNK_DATA'
  | 'TRAILERS_TOO_LARGE'
  | 'TRAILER_FIELD'
  | 'TRUNCATED_BODY'
  | 'UNENCODABLE';

/** The status that answers the fault: 4xx and 50x for a client's, 502 for an upstream's, 500 for a head that we must not write. */
export type HttpSyntaxStatus = 400 | 414 | 431 | 500 | 501 | 502 | 505;

/** Which peer sent the bytes. It chooses between 400 and 502. */
export type MessageSide = 'request' | 'response';

/**
 * A message that breaks HTTP/1 syntax, framing or a limit. The connection it came on cannot be read any further.
 *
 * It is not a `SallyportError` because its codes are this codec's own; the gate maps it to one. The message never quotes
 * bytes of the peer: any of them may be a credential.
 */
export class HttpSyntaxError extends Error {
  override readonly name = 'HttpSyntaxError';
  readonly code: HttpSyntaxCode;
  readonly status: HttpSyntaxStatus;

  constructor(code: HttpSyntaxCode, status: HttpSyntaxStatus, message: string) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The status for a malformed message of that side. */
export function malformedStatus(side: MessageSide): 400 | 502 {
  return side === 'request' ? 400 : 502;
}
