import { createHmac } from 'node:crypto';

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

/** The line that is written: `text` with the mac as its last member, and a line break. */
export function joinLine(text: string, mac: string): string {
  return `${text.slice(0, -1)}${MAC_MEMBER}${mac}"}\n`;
}

/**
 * Takes a line (without its line break) apart into what the mac is over, and the mac.
 *
 * Null if it does not end in a mac exactly as {@link joinLine} writes it.
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
