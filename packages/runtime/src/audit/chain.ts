import { createHmac, hash } from 'node:crypto';

/** Bytes of the chain's key. */
export const AUDIT_KEY_BYTES = 32;

/** What the first line of a file is chained to, in the place of a line before it. */
export const CHAIN_START = '0'.repeat(64);

const MAC_MEMBER = ',"mac":"';
const MAC_HEX_LENGTH = 64;
const SUFFIX_BYTES = MAC_MEMBER.length + MAC_HEX_LENGTH + '"}'.length;
const CLOSING_BRACE = Buffer.from('}', 'latin1');

/**
 * The mac of a line: HMAC-SHA256 over the mac of the line before it (32 bytes) and the line as it would be without its own mac.
 *
 * @param key {@link AUDIT_KEY_BYTES} bytes
 * @param previousMac in hex; {@link CHAIN_START} for the first line
 * @param text the JSON object without its `mac` member, without a line break
 * @returns in hex
 */
export function chainMac(key: Uint8Array, previousMac: string, text: string | Uint8Array): string {
  return createHmac('sha256', key).update(previousMac, 'hex').update(text).digest('hex');
}

/**
 * Takes a line (without its line break) apart into what the mac is over, and the mac.
 *
 * Null if it does not end in a mac exactly as {@link LineSealer} writes it.
 */
export function splitLine(line: Buffer): { readonly text: Buffer; readonly mac: string } | null {
  const start = line.length - SUFFIX_BYTES;
  if (start < 1) {
    return null;
  }
  const suffix = line.toString('latin1', start);
  const mac = suffix.slice(MAC_MEMBER.length, MAC_MEMBER.length + MAC_HEX_LENGTH);
  if (suffix !== `${MAC_MEMBER}${mac}"}` || !/^[0-9a-f]{64}$/.test(mac)) {
    return null;
  }
  return { text: Buffer.concat([line.subarray(0, start), CLOSING_BRACE]), mac };
}

/** Bytes of a mac. */
const MAC_BYTES = 32;
const SHA256_BLOCK_BYTES = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
const MIN_LINES_BYTES = 64 * 1024;
/** Where a text begins behind the key block and the mac of the line before. */
const TEXT_START = SHA256_BLOCK_BYTES + MAC_BYTES;

/**
 * Seals line after line of one chain into one buffer: the mac of {@link chainMac} becomes its last member, and a line break ends it.
 *
 * HMAC is written out here (RFC 2104) over one-shot hashes, because an Hmac object for each line costs more than both hashes, and
 * again when it is collected.
 */
export class LineSealer {
  /** The mac of the last line, in hex. */
  mac: string;
  /** Key block, mac of the line before, text. */
  #inner: Buffer;
  /** Key block, inner hash. */
  readonly #outer = Buffer.alloc(SHA256_BLOCK_BYTES + MAC_BYTES);
  #lines: Buffer = Buffer.allocUnsafe(MIN_LINES_BYTES);
  #length = 0;

  /**
   * @param key {@link AUDIT_KEY_BYTES} bytes
   * @param mac of the line before the first, in hex
   */
  constructor(key: Uint8Array, mac: string) {
    this.mac = mac;
    this.#inner = Buffer.alloc(TEXT_START + MIN_LINES_BYTES);
    for (let i = 0; i < SHA256_BLOCK_BYTES; i++) {
      this.#inner[i] = (key[i] ?? 0) ^ INNER_PAD;
      this.#outer[i] = (key[i] ?? 0) ^ OUTER_PAD;
    }
  }

  /** Bytes that `take` would give. */
  get length(): number {
    return this.#length;
  }

  /** Seals a line: its JSON object without the `mac` member is `bytes[start, end)`. */
  add(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (this.#inner.length < TEXT_START + length) this.#inner = Buffer.concat([this.#inner], TEXT_START + length);
    this.#inner.write(this.mac, SHA256_BLOCK_BYTES, 'hex');
    bytes.copy(this.#inner, TEXT_START, start, end);
    // A digest as a string costs a third of one as a buffer.
    const digest = hash('sha256', this.#inner.subarray(0, TEXT_START + length), 'latin1');
    this.#outer.write(digest, SHA256_BLOCK_BYTES, 'latin1');
    this.mac = hash('sha256', this.#outer, 'hex');

    const needed = this.#length + length + SUFFIX_BYTES;
    if (this.#lines.length < needed) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#lines.length));
      this.#lines.copy(grown, 0, 0, this.#length);
      this.#lines = grown;
    }
    // Without its closing brace, which comes behind the mac.
    bytes.copy(this.#lines, this.#length, start, end - 1);
    this.#length += length - 1;
    this.#length += this.#lines.write(`${MAC_MEMBER}${this.mac}"}\n`, this.#length, 'latin1');
  }

  /** The lines since the last call. They are the caller's until the next `add`. */
  take(): Buffer {
    const lines = this.#lines.subarray(0, this.#length);
    this.#length = 0;
    return lines;
  }
}
