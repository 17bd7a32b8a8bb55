/** Below this many bytes, setting up a view for whole words costs more than it saves (measured). */
const MIN_WORDWISE_BYTES = 48;

const KEY = new Uint8Array(4);
const KEY_WORD = new Int32Array(KEY.buffer);

/**
 * Masks or unmasks bytes in place (RFC 6455 section 5.3): the same operation either way.
 *
 * @param key the masking key as a big-endian number, as it is on the wire.
 * @param position how many bytes of the payload came before `data`.
 */
export function applyMask(data: Buffer, key: number, position: number): void {
  if (key === 0) return;
  const length = data.length;
  let index = 0;
  // The key rotated, so that its first byte belongs to the byte at `index`.
  let rotated = rotate(key, position);
  if (length >= MIN_WORDWISE_BYTES) {
    const aligned = (4 - (data.byteOffset & 3)) & 3;
    for (; index < aligned; index++) {
      data[index]! ^= rotated >>> 24;
      rotated = rotate(rotated, 1);
    }
    KEY[0] = rotated >>> 24;
    KEY[1] = rotated >>> 16;
    KEY[2] = rotated >>> 8;
    KEY[3] = rotated;
    const word = KEY_WORD[0]!;
    const words = new Int32Array(data.buffer, data.byteOffset + index, (length - index) >> 2);
    const count = words.length;
    const unrolled = count & ~3;
    let at = 0;
    for (; at < unrolled; at += 4) {
      words[at]! ^= word;
      words[at + 1]! ^= word;
      words[at + 2]! ^= word;
      words[at + 3]! ^= word;
    }
    for (; at < count; at++) words[at]! ^= word;
    index += count * 4;
  }
  for (; index < length; index++) {
    data[index]! ^= rotated >>> 24;
    rotated = rotate(rotated, 1);
  }
}

function rotate(key: number, bytes: number): number {
  const bits = (bytes & 3) * 8;
  return bits === 0 ? key : (key << bits) | (key >>> (32 - bits));
}
