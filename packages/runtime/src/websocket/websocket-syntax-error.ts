/** What an endpoint did that RFC 6455, RFC 7692 or a limit of ours forbids. Append-only. */
export type WebSocketSyntaxCode =
  | 'RESERVED_BITS'
  | 'RESERVED_OPCODE'
  | 'MASK'
  | 'LENGTH'
  | 'FRAGMENTED_CONTROL'
  | 'CONTROL_TOO_LONG'
  | 'CLOSE_PAYLOAD'
  | 'CONTINUATION'
  | 'COMPRESSION'
  | 'EXTENSIONS';

/**
 * Frames or a negotiation that break the protocol. The connection cannot be read any further.
 *
 * The message never quotes bytes of the peer, is ASCII and fits a close frame's reason.
 */
export class WebSocketSyntaxError extends Error {
  override readonly name = 'WebSocketSyntaxError';
  readonly code: WebSocketSyntaxCode;

  constructor(code: WebSocketSyntaxCode, message: string) {
    super(message);
    this.code = code;
  }
}
