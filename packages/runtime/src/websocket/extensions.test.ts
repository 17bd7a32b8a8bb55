import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  checkAcceptedExtensions,
  formatDeflateParameters,
  MAX_EXTENSION_OFFERS,
  reduceExtensionOffers,
} from './extensions.ts';
import { WebSocketSyntaxError } from './websocket-syntax-error.ts';

function reduced(...values: string[]): string {
  return reduceExtensionOffers(values).map(formatDeflateParameters).join(', ');
}

test('reduceExtensionOffers() keeps the well-formed offers of permessage-deflate', () => {
  for (const [given, expected] of [
    ['permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits'],
    ['permessage-deflate;server_no_context_takeover ; client_no_context_takeover', 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'],
    ['permessage-deflate; client_max_window_bits="10"; server_max_window_bits=8', 'permessage-deflate; server_max_window_bits=8; client_max_window_bits=10'],
    ['x-webkit-deflate-frame, permessage-deflate', 'permessage-deflate'],
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate', 'permessage-deflate; server_max_window_bits=9, permessage-deflate'],
    [', permessage-deflate,,', 'permessage-deflate'],
    ['', ''],
    ['permessage-bzip2', ''],
    ['Permessage-Deflate', ''],
    ['permessage-deflate; server_max_window_bits', ''],
    ['permessage-deflate; server_max_window_bits=7', ''],
    ['permessage-deflate; server_max_window_bits=16', ''],
    ['permessage-deflate; server_max_window_bits=08', ''],
    ['permessage-deflate; client_max_window_bits=1e1', ''],
    ['permessage-deflate; server_no_context_takeover=1', ''],
    ['permessage-deflate; client_max_window_bits; client_max_window_bits', ''],
    ['permessage-deflate; mystery', ''],
    ['permessage-deflate; =', ''],
    ['permessage-deflate permessage-deflate', ''],
    ['permessage-deflate; client_max_window_bits="10', ''],
    ['permessage-deflate; client_max_window_bits="1\\0"', ''],
    [Array.from({ length: MAX_EXTENSION_OFFERS + 1 }, () => 'permessage-deflate').join(), ''],
  ] as const) assert.equal(reduced(given), expected, given);
  assert.equal(reduced('foo', 'permessage-deflate'), 'permessage-deflate');
}); // prettier-ignore

test('checkAcceptedExtensions() takes what answers an offer by RFC 7692 section 7.1, and nothing else', () => {
  const cases: readonly (readonly [offer: string, answer: string, isAccepted: boolean])[] = [
    ['', '', true],
    ['permessage-deflate', '', true],
    ['permessage-deflate', 'permessage-deflate', true],
    ['permessage-deflate', 'permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10', true],
    ['permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits=9', true],
    ['permessage-deflate; server_max_window_bits=10, permessage-deflate', 'permessage-deflate', true],
    ['', 'permessage-deflate', false],
    ['permessage-deflate', 'permessage-deflate, permessage-deflate', false],
    ['permessage-deflate', 'x-other', false],
    ['permessage-deflate', 'permessage-deflate; client_max_window_bits=9', false],
    ['permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits', false],
    ['permessage-deflate; server_max_window_bits=10', 'permessage-deflate', false],
    ['permessage-deflate; server_max_window_bits=10', 'permessage-deflate; server_max_window_bits=11', false],
    ['permessage-deflate; server_no_context_takeover', 'permessage-deflate', false],
    ['permessage-deflate', 'permessage-deflate;', false],
    ['permessage-deflate', 'permessage-deflate; \u00e9', false],
  ]; // prettier-ignore
  for (const [offer, answer, isAccepted] of cases) {
    const check = () => checkAcceptedExtensions([answer], reduceExtensionOffers([offer]));
    if (isAccepted) assert.equal(check() === null, answer === '', answer);
    else assert.throws(check, WebSocketSyntaxError, `${offer} / ${answer}`);
  }
});

test('reduceExtensionOffers() throws nothing, and reads what it prints', () => {
  const word = fc.constantFrom(
    'permessage-deflate', ';', ',', '=', '"', ' ', 'client_max_window_bits', 'server_max_window_bits', '10', '8', '\\', 'x',
  ); // prettier-ignore
  fc.assert(
    fc.property(fc.array(word, { maxLength: 14 }), (words) => {
      const text = reduced(words.join(''));
      assert.equal(reduced(text), text);
    }),
    { numRuns: 1000 },
  );
});
