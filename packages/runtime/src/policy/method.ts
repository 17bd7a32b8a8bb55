import { SallyportError } from '@sallyport/sdk';
import { quote } from './quoted-text.ts';

/** The longest method name, in characters. */
const MAX_METHOD_CHARACTERS = 32;

/**
 * Reads methods as the command line has them, `GET,POST`; each once. Lower case is taken for upper case: methods are case-sensitive
 * (RFC 9110 section 9.1), and all that are in use are upper case.
 *
 * @throws SallyportError INVALID_METHOD for what is no token; one with a `*`, which no method has, is taken for a wildcard.
 */
export function parseMethods(text: string): readonly string[] {
  return [...new Set(text.split(',').map((part) => parseMethod(part.trim())))];
}

/**
 * Reads one method as {@link parseMethods} does.
 *
 * @throws SallyportError INVALID_METHOD
 */
export function parseMethod(text: string): string {
  const method = text.toUpperCase();
  if (method.includes('*')) {
    throw new SallyportError(
      'INVALID_METHOD',
      `${quote(text)} is no HTTP method, and there are no wildcards: leave methods out for any.`,
    );
  }
  if (method.length > MAX_METHOD_CHARACTERS || !/^[!#$%&'+.^_`|~0-9A-Z-]+$/u.test(method)) {
    throw new SallyportError('INVALID_METHOD', `${quote(text)} is no HTTP method. Write methods like "GET,POST".`);
  }
  return method;
}
