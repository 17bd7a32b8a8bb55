/** Opcodes of RFC 6455 section 5.2. All others are reserved. */
export const OPCODE = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

/** What a message is made of. */
export type MessageOpcode = typeof OPCODE.text | typeof OPCODE.binary;

/** A frame that stands for itself and may come between the fragments of a message. */
export type ControlOpcode = typeof OPCODE.close | typeof OPCODE.ping | typeof OPCODE.pong;

/** Which endpoint sent a frame. The client masks every frame, the server none (RFC 6455 section 5.1). */
export type WebSocketSide = 'client' | 'server';

/** The longest payload of a control frame, in bytes (RFC 6455 section 5.5). */
export const MAX_CONTROL_PAYLOAD_BYTES = 125;
/** The longest header: two bytes, eight of length, four of masking key. */
export const MAX_FRAME_HEADER_BYTES = 14;
/** Bytes of a masking key. */
export const MASK_BYTES = 4;

/** Close codes (RFC 6455 section 7.4.1) that the gate itself sends. */
export const CLOSE_CODE = { goingAway: 1001, protocolError: 1002, policyViolation: 1008, internalError: 1011 } as const;

/**
 * Whether a code may stand in a close frame: 1000 to 1003, 1007 to 1014 (RFC 6455 section 7.4.1 and the IANA registry), or 3000 to 4999.
 * 1004 is reserved; 1005, 1006 and 1015 only say that there was no close frame.
 */
export function isCloseCode(code: number): boolean {
  return (
    (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) || (code >= 3000 && code <= 4999)
  );
}
