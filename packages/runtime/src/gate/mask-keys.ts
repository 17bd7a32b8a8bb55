import { randomFillSync } from 'node:crypto';
import { MASK_BYTES } from '../websocket/frame.ts';

const POOL_BYTES = 4096;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/** A masking key that nobody can predict (RFC 6455 section 5.3), as a big-endian number. */
export function nextMaskKey(): number {
  if (used === POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const key = pool.readInt32BE(used);
  used += MASK_BYTES;
  return key;
}
