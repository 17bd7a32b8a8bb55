/** The number of bits of the code of each octet, and of EOS at the end (RFC 7541 appendix B). */
const CODE_BITS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
]; // prettier-ignore

const EOS = 256;
const MAX_CODE_BITS = 30;
/** Padding is shorter than an octet (RFC 7541 section 5.2). */
const MAX_PADDING_BITS = 7;

/** The shortest code has 5 bits, so this many octets come out of one at most. */
export const MAX_HUFFMAN_EXPANSION = 8 / 5;

/**
 * The decoder as a state machine that reads four bits at a time: a state is an inner node of the code's tree, 0 its root. An entry holds the
 * next state in its lowest octet, then the decoded octet, then the flags below.
 */
const HAS_OCTET = 0x1_0000;
const FAILS = 0x2_0000;
const STEPS = new Uint32Array(256 * 16);
/** 1 for states in which a string may end: none but ones since the last octet, and few of them. */
const MAY_END = new Uint8Array(256);

buildMachine();

/** The code is canonical: sorted by length, then by octet, each code is the one before it plus one. */
function buildMachine(): void {
  /** Two children for each node: a node below 0x1000, an octet with 0x1000 added, or 0 for none. */
  const children: number[] = [0, 0];
  let code = 0;
  for (let bits = 1; bits <= MAX_CODE_BITS; bits++) {
    code *= 2;
    for (const [octet, length] of CODE_BITS.entries()) {
      if (length !== bits) continue;
      addCode(children, code, bits, octet);
      code += 1;
    }
  }
  for (let state = 0; state < children.length / 2; state++) {
    for (let nibble = 0; nibble < 16; nibble++) STEPS[state * 16 + nibble] = stepFrom(children, state, nibble);
  }
  let node = 0;
  for (let depth = 0; depth <= MAX_PADDING_BITS; depth++) {
    MAY_END[node] = 1;
    node = children[node * 2 + 1]!;
  }
}

function addCode(children: number[], code: number, bits: number, octet: number): void {
  let node = 0;
  for (let bit = bits - 1; bit > 0; bit--) {
    const side = node * 2 + ((code >>> bit) & 1);
    if (children[side] === 0) {
      children[side] = children.length / 2;
      children.push(0, 0);
    }
    node = children[side]!;
  }
  children[node * 2 + (code & 1)] = 0x1000 + octet;
}

function stepFrom(children: readonly number[], state: number, nibble: number): number {
  let node = state;
  let octet = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node * 2 + ((nibble >>> bit) & 1)]!;
    if (next === 0x1000 + EOS) return FAILS;
    if (next >= 0x1000) {
      octet = HAS_OCTET | ((next - 0x1000) << 8);
      node = 0;
    } else {
      node = next;
    }
  }
  return octet | node;
}

/**
 * Decodes a string (RFC 7541 section 5.2) into `out`, which must have room for {@link MAX_HUFFMAN_EXPANSION} times its octets.
 *
 * @returns how many octets came out; -1 for EOS within the string, or padding that is too long or not of ones.
 */
export function decodeHuffman(source: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let state = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const octet = source[at]!;
    let step = STEPS[state * 16 + (octet >>> 4)]!;
    if (step >= HAS_OCTET) {
      if (step >= FAILS) return -1;
      out[length++] = (step >>> 8) & 0xff;
    }
    step = STEPS[(step & 0xff) * 16 + (octet & 15)]!;
    if (step >= HAS_OCTET) {
      if (step >= FAILS) return -1;
      out[length++] = (step >>> 8) & 0xff;
    }
    state = step & 0xff;
  }
  return MAY_END[state] === 1 ? length : -1;
}
