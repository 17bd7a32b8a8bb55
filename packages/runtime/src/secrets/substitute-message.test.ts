import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { BoundSecret, Location } from './bound-secret.ts';
import { SecretValue } from './secret-value.ts';
import { MessageSubstituter } from './substitute-message.ts';

const VALUE = 'va"lue\\of-é';
const JSON_VALUE = JSON.stringify(VALUE).slice(1, -1);

function secret(name: string, value: string, kinds: readonly Exclude<Location['kind'], 'header'>[]): BoundSecret {
  const locations = kinds.map((kind) => ({ kind }));
  return { name, env: name, placeholder: `sp_${name}_0123456789`, value: new SecretValue(value), hosts: [], locations };
}

const A = secret('A', VALUE, ['websocket']);
const B = secret('B', 'value-of-b', ['query', 'body']);
const P = A.placeholder;

function apply(pieces: readonly (string | Buffer)[], isText: boolean) {
  const connection = new MessageSubstituter([A, B]).connection([A, B]);
  assert.ok(connection !== null);
  const stream = connection.open(isText);
  const output = Buffer.concat([
    ...pieces.map((piece) => stream.push(Buffer.from(piece))),
    stream.finish(Buffer.alloc(0)),
  ]);
  return { text: output.toString(), released: [...connection.released], stray: [...connection.stray] };
}

describe('MessageSubstituter', () => {
  test('connection() is null unless a secret that is bound may stand in messages', () => {
    const substituter = new MessageSubstituter([A, B]);
    assert.equal(substituter.connection([]), null);
    assert.equal(substituter.connection([B]), null);
    assert.notEqual(substituter.connection([A]), null);
  });

  test('open() writes the value as it is, and with escapes where the text looks like JSON', () => {
    for (const [given, expected] of [
      [`x ${P} y ${P}`, `x ${VALUE} y ${VALUE}`],
      [`{"a":"${P}"}`, `{"a":"${JSON_VALUE}"}`],
      [`[${P}]`, `[${JSON_VALUE}]`],
      [` \t\r\n[${P}]`, ` \t\r\n[${JSON_VALUE}]`],
      [`\v[${P}]`, `\v[${VALUE}]`],
      [`"${P}"`, `"${VALUE}"`],
      [`{"a":"\\u0073${P.slice(1)}"}`, `{"a":"${JSON_VALUE}"}`],
      [`\\u0073${P.slice(1)}`, `\\u0073${P.slice(1)}`],
      ['', ''],
      ['  ', '  '],
    ] as const) {
      assert.equal(apply([given], true).text, expected, given);
    }
    assert.equal(apply([`{"a":"${P}"}`], false).text, `{"a":"${VALUE}"}`);
  });

  test('open() leaves other placeholders, and tells of them', () => {
    const { text, released, stray } = apply([`${B.placeholder} ${P}`], true);
    assert.equal(text, `${B.placeholder} ${VALUE}`);
    assert.deepEqual([released, stray], [['A'], ['B']]);
  });

  test('open() gives the same for any pieces, and finds nothing across messages', () => {
    const connection = new MessageSubstituter([A]).connection([A]);
    assert.ok(connection !== null);
    for (const part of [P.slice(0, 7), P.slice(7)]) {
      const stream = connection.open(true);
      assert.equal(stream.finish(Buffer.from(part)).toString(), part);
    }
    const word = fc.constantFrom(P, P.slice(0, 5), P.slice(5), ' ', '{', '[', '"', 'é', '\\', '\\u0073', B.placeholder);
    fc.assert(
      fc.property(
        fc.array(word, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        (words, sizes, isText) => {
          const bytes = Buffer.from(words.join(''));
          const pieces: Buffer[] = [];
          for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
            const size = sizes[turn % sizes.length] ?? 1;
            pieces.push(bytes.subarray(at, at + size));
            at += size;
          }
          assert.deepEqual(apply(pieces, isText), apply([bytes], isText));
        },
      ),
    );
  });
});
