import type { Writable } from 'node:stream';
import { MAX_FRAME_HEADER_BYTES, type ControlOpcode, type MessageOpcode, type OPCODE } from '../websocket/frame.ts';
import { encodeFrameHeader, frameHeaderBytes, writeFrameHeader } from '../websocket/frame-header.ts';
import { applyMask } from '../websocket/mask.ts';
import { nextMaskKey } from './mask-keys.ts';

/** Frames up to this size are copied into one write; larger ones are written as they lie, unless they are masked. */
const JOINED_WRITE_BYTES = 16 * 1024;

/** A frame, as far as the writer does not decide it. */
export interface UnmaskedFrame {
  readonly opcode: MessageOpcode | ControlOpcode | typeof OPCODE.continuation;
  readonly isFinal: boolean;
  /** Bytes of all pieces together. */
  readonly length: number;
}

/** Writes one frame, with a fresh mask where a client sends it. `flowing` is what `write` says. */
export function writeFrame(
  socket: Writable,
  frame: UnmaskedFrame,
  pieces: readonly Buffer[],
  masks: boolean,
): { readonly bytes: number; readonly flowing: boolean } {
  const mask = masks ? nextMaskKey() : null;
  const { opcode, isFinal, length } = frame;
  const masked = { opcode, isFinal, length, mask };
  const headerBytes = frameHeaderBytes(masked);
  const bytes = headerBytes + length;
  if (mask === null && length > JOINED_WRITE_BYTES) {
    socket.cork();
    let flowing = socket.write(encodeFrameHeader(masked));
    for (const piece of pieces) flowing = socket.write(piece);
    socket.uncork();
    return { bytes, flowing };
  }
  const joined = Buffer.allocUnsafe(MAX_FRAME_HEADER_BYTES + length);
  let end = writeFrameHeader(joined, masked);
  for (const piece of pieces) end += piece.copy(joined, end);
  if (mask !== null) applyMask(joined.subarray(headerBytes, end), mask, 0);
  return { bytes, flowing: socket.write(joined.subarray(0, end)) };
}
