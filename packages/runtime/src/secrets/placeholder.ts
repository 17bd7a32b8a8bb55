import { SallyportError } from '@sallyport/sdk';
import { quote } from '../policy/quoted-text.ts';

/** Random bytes that a placeholder is made from. */
export const PLACEHOLDER_RANDOM_BYTES = 32;
const RANDOM_CHARACTERS = 22;
/** A shorter one would be met in ordinary text. */
const MIN_PLACEHOLDER_CHARACTERS = 8;
const RANDOM_PART = '{rand}';
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/**
 * Makes the placeholder of an environment variable: `sp_ENV_` and 22 characters of base 62 (131 bits).
 *
 * The bytes are read as one number of 256 bits, so that the remainder's bias is below 2^-124 without a retry.
 *
 * @param randomBytes at least 32 bytes: random, or derived with a key to be stable across restarts.
 * @throws SallyportError INTERNAL when there are fewer.
 */
export function derivePlaceholder(env: string, randomBytes: Uint8Array): string {
  if (randomBytes.length < PLACEHOLDER_RANDOM_BYTES) {
    throw new SallyportError(
      'INTERNAL',
      `A placeholder needs ${PLACEHOLDER_RANDOM_BYTES} random bytes, not ${randomBytes.length}.`,
    );
  }
  return `sp_${env}_${randomCharacters(randomBytes)}`;
}

/**
 * Makes a placeholder of somebody's own design: `{rand}` in it becomes 22 characters of base 62.
 *
 * @param randomBytes as for {@link derivePlaceholder}.
 * @throws SallyportError INVALID_SECRET_SPEC for fewer than 8 characters, and for anything that URLs and shells would not leave as it is.
 */
export function fillPlaceholder(template: string, randomBytes: Uint8Array): string {
  const placeholder = template.replaceAll(RANDOM_PART, () => randomCharacters(randomBytes));
  if (placeholder.length < MIN_PLACEHOLDER_CHARACTERS) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The placeholder ${quote(template)} is too short: ordinary text could hold it. Use at least ${MIN_PLACEHOLDER_CHARACTERS} characters; ${RANDOM_PART} becomes ${RANDOM_CHARACTERS}.`,
    );
  }
  if (!/^[A-Za-z0-9._~-]+$/.test(placeholder)) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The placeholder ${quote(template)} has characters that do not pass through URLs and shells as they are. Use letters, digits, ".", "_", "~", "-" and ${RANDOM_PART}.`,
    );
  }
  return placeholder;
}

function randomCharacters(randomBytes: Uint8Array): string {
  let number = 0n;
  for (const byte of randomBytes.subarray(0, PLACEHOLDER_RANDOM_BYTES)) number = (number << 8n) | BigInt(byte);
  let characters = '';
  for (let index = 0; index < RANDOM_CHARACTERS; index += 1) {
    characters += BASE62.charAt(Number(number % 62n));
    number /= 62n;
  }
  return characters;
}
