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

/** Bytes that {@link LineSealer.seal} needs before a text: the key's block and the mac of the line before. */
export const SEAL_ROOM_BYTES = SHA256_BLOCK_BYTES + MAC_BYTES;

const MAC_MEMBER_BYTES = Uint8Array.from(Buffer.from(MAC_MEMBER, 'latin1'));
const HEX_DIGITS = Uint8Array.from(Buffer.from('0123456789abcdef', 'latin1'));
const LINE_END = Uint8Array.from(Buffer.from('"}\n', 'latin1'));

/**
 * Seals line after line of one chain where it lies: the mac of {@link chainMac} becomes its last member, and a line break ends it.
 *
 * HMAC is written out here (RFC 2104) over one-shot hashes, because an Hmac object for each line costs more than both hashes, and
 * again when it is collected. All else is done by byte: a call into native code costs as much as a hundred bytes.
 */
export class LineSealer {
  /** Of the last line, a character a byte. A digest as a string costs a third of one as a buffer. */
  #mac: string;
  readonly #innerKey = new Uint8Array(SHA256_BLOCK_BYTES);
  /** Key block, inner hash. */
  readonly #outer = new Uint8Array(SHA256_BLOCK_BYTES + MAC_BYTES);

  /**
   * @param key {@link AUDIT_KEY_BYTES} bytes
   * @param mac of the line before the first, in hex
   */
  constructor(key: Uint8Array, mac: string) {
    this.#mac = Buffer.from(mac, 'hex').toString('latin1');
    for (let i = 0; i < SHA256_BLOCK_BYTES; i++) {
      this.#innerKey[i] = (key[i] ?? 0) ^ INNER_PAD;
      this.#outer[i] = (key[i] ?? 0) ^ OUTER_PAD;
    }
  }

  /** The mac of the last line, in hex. */
  get mac(): string {
    return Buffer.from(this.#mac, 'latin1').toString('hex');
  }

  /**
   * Seals a line, and returns the offset behind it.
   *
   * @param start where its text begins, the JSON object without the `mac` member; the {@link SEAL_ROOM_BYTES} before it are overwritten
   * @param end where its text ends
   * @param to where the line is put; at least {@link SEAL_ROOM_BYTES} before `start`, and no line that is not sealed yet lies between
   */
  seal(bytes: Uint8Array, start: number, end: number, to: number): number {
    const inner = start - SEAL_ROOM_BYTES;
    bytes.set(this.#innerKey, inner);
    putBytes(bytes, inner + SHA256_BLOCK_BYTES, this.#mac);
    putBytes(this.#outer, SHA256_BLOCK_BYTES, hash('sha256', bytes.subarray(inner, end), 'latin1'));
    const mac = hash('sha256', this.#outer, 'latin1');
    this.#mac = mac;

    // Without its closing brace, which comes behind the mac. A line grows by less than the room before it.
    bytes.copyWithin(to, start, end - 1);
    let at = to + (end - 1 - start);
    bytes.set(MAC_MEMBER_BYTES, at);
    at += MAC_MEMBER.length;
    for (let i = 0; i < MAC_BYTES; i++) {
      const octet = mac.charCodeAt(i);
      bytes[at++] = HEX_DIGITS[octet >> 4]!;
      bytes[at++] = HEX_DIGITS[octet & 15]!;
    }
    bytes.set(LINE_END, at);
    return at + LINE_END.length;
  }
}

function putBytes(bytes: Uint8Array, at: number, latin1: string): void {
  for (let i = 0; i < MAC_BYTES; i++) bytes[at + i] = latin1.charCodeAt(i);
}
