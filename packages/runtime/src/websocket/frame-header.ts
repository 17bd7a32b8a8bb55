import {
  MASK_BYTES,
  MAX_CONTROL_PAYLOAD_BYTES,
  MAX_FRAME_HEADER_BYTES,
  OPCODE,
  type ControlOpcode,
  type MessageOpcode,
} from './frame.ts';

/** A frame to be written. */
export interface OutgoingFrame {
  readonly opcode: MessageOpcode | ControlOpcode | typeof OPCODE.continuation;
  /** Whether it is the last one of its message; a control frame always is. */
  readonly isFinal: boolean;
  /** Bytes of payload. */
  readonly length: number;
  /** The masking key as a big-endian number; null from a server. */
  readonly mask: number | null;
}

/** How many bytes the header of a frame takes. */
export function frameHeaderBytes(frame: OutgoingFrame): number {
  const extended = frame.length < 126 ? 0 : frame.length < 0x10000 ? 2 : 8;
  return 2 + extended + (frame.mask === null ? 0 : MASK_BYTES);
}

/**
 * Writes the header of a frame at the start of `target`: length in its shortest form, no reserved bit. Returns the bytes written.
 *
 * @throws RangeError for a control frame that RFC 6455 section 5.5 does not allow; this is the gate's own mistake.
 */
export function writeFrameHeader(target: Buffer, frame: OutgoingFrame): number {
  const { opcode, isFinal, length, mask } = frame;
  if (opcode >= OPCODE.close && (!isFinal || length > MAX_CONTROL_PAYLOAD_BYTES)) {
    throw new RangeError('a control frame is final and at most 125 bytes long');
  }
  const maskBit = mask === null ? 0 : 0x80;
  target[0] = (isFinal ? 0x80 : 0) | opcode;
  let end = 2;
  if (length < 126) {
    target[1] = maskBit | length;
  } else if (length < 0x10000) {
    target[1] = maskBit | 126;
    end = target.writeUInt16BE(length, end);
  } else {
    target[1] = maskBit | 127;
    end = target.writeUInt32BE(Math.floor(length / 0x1_0000_0000), end);
    end = target.writeUInt32BE(length >>> 0, end);
  }
  if (mask !== null) end = target.writeUInt32BE(mask >>> 0, end);
  return end;
}

/** The header of a frame by itself. */
export function encodeFrameHeader(frame: OutgoingFrame): Buffer {
  const header = Buffer.allocUnsafe(MAX_FRAME_HEADER_BYTES);
  return header.subarray(0, writeFrameHeader(header, frame));
}
