/** The content codings that the gate can decode in order to redact: RFC 9110 section 8.4.1, RFC 7932, RFC 8878. */
const DECODABLE = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd', 'identity']);

/**
 * Reduces an Accept-Encoding value to the codings that the gate can decode, so that every response can be redacted.
 * Weights are kept; what is left of nothing is `identity`.
 */
export function reduceAcceptEncoding(value: string): string {
  // A client says the same in every request.
  if (value === lastValue) return lastReduced;
  const reduced = reduce(value);
  if (value.length <= MAX_REMEMBERED_CHARACTERS) {
    lastValue = value;
    lastReduced = reduced;
  }
  return reduced;
}

const MAX_REMEMBERED_CHARACTERS = 256;
let lastValue = '';
let lastReduced = 'identity';

function reduce(value: string): string {
  const kept = value
    .split(',')
    .map((element) => element.trim())
    .filter((element) => DECODABLE.has((element.split(';', 1)[0] ?? '').trim().toLowerCase()));
  return kept.length === 0 ? 'identity' : kept.join(', ');
}
