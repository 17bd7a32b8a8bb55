import { SallyportError } from '@sallyport/sdk';
import { PLACEHOLDER_RANDOM_BYTES } from '../secrets/placeholder.ts';
import { quote } from '../policy/quoted-text.ts';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

const ALPHABETS: Readonly<Record<string, string>> = {
  base62: BASE62,
  letters: BASE62.slice(10),
  hex: '0123456789abcdef',
  /** RFC 4648, as in AWS's access key ids. */
  base32: 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567',
};

/**
 * Makes a variable's sentinel from its template: a value that looks like one of the vendor's keys and opens nothing. `{rand}` becomes 22
 * random letters and digits, `{base62:N}`, `{letters:N}`, `{hex:N}` and `{base32:N}` N random characters of that alphabet.
 *
 * All are taken from one number of 256 bits, so that is how random a sentinel is at most.
 *
 * @param randomBytes at least 32 bytes: random, or derived with a key to be stable across restarts and rotation.
 * @throws SallyportError INTERNAL when there are fewer, or for a template with another word in braces or without any.
 */
export function fillSentinel(template: string, randomBytes: Uint8Array): string {
  if (randomBytes.length < PLACEHOLDER_RANDOM_BYTES) {
    throw new SallyportError(
      'INTERNAL',
      `A sentinel needs ${PLACEHOLDER_RANDOM_BYTES} random bytes, not ${randomBytes.length}.`,
    );
  }
  let number = 0n;
  for (const byte of randomBytes.subarray(0, PLACEHOLDER_RANDOM_BYTES)) number = (number << 8n) | BigInt(byte);
  let parts = 0;
  const sentinel = template.replaceAll(
    /\{(?:rand|(base62|letters|hex|base32):(\d{1,3}))\}/gu,
    (_, name: string | undefined, length: string | undefined) => {
      parts += 1;
      const alphabet = ALPHABETS[name ?? 'base62'] ?? BASE62;
      const base = BigInt(alphabet.length);
      let characters = '';
      for (let left = Number(length ?? 22); left > 0; left -= 1) {
        characters += alphabet.charAt(Number(number % base));
        number /= base;
      }
      return characters;
    },
  );
  if (parts === 0 || /[{}]/u.test(sentinel)) {
    throw new SallyportError('INTERNAL', `${quote(template)} is no template of a sentinel.`);
  }
  return sentinel;
}
