/** Frame types (RFC 9113 section 6). */
export const FRAME = {
  data: 0x0,
  headers: 0x1,
  priority: 0x2,
  reset: 0x3,
  settings: 0x4,
  pushPromise: 0x5,
  ping: 0x6,
  goAway: 0x7,
  windowUpdate: 0x8,
  continuation: 0x9,
} as const;

/** Flags of those frames; `endStream` and `ack` are the same bit. */
export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** The head of a frame (RFC 9113 section 4.1). */
export const FRAME_HEAD_BYTES = 9;
/** The longest payload that we take, and send unless the peer takes less than that never: SETTINGS_MAX_FRAME_SIZE as it begins. */
export const MAX_FRAME_BYTES = 16_384;
/** What a client sends first (RFC 9113 section 3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** The largest window, and the largest stream id (RFC 9113 sections 6.9.1 and 5.1.1). */
export const MAX_INT31 = 0x7fff_ffff;
/** The windows that connections and streams begin with. */
export const DEFAULT_WINDOW_BYTES = 65_535;

/** Reads 32 bits. */
export function readUint32(source: Uint8Array, at: number): number {
  return ((source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!) >>> 0;
}

/** Writes 32 bits. */
export function writeUint32(out: Uint8Array, at: number, value: number): void {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
}
