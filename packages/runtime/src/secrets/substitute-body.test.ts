import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { bodyFormat, type BodyFormat } from './body-format.ts';
import type { BoundSecret, Location } from './bound-secret.ts';
import { Redactor } from './redact.ts';
import { SecretValue } from './secret-value.ts';
import { BodySubstituter, type BodySubstitutionStream } from './substitute-body.ts';

function secret(name: string, value: string, locations: readonly Location[] = [{ kind: 'body' }]): BoundSecret {
  return { name, env: name, placeholder: `sp_${name}_q1w2e3`, value: new SecretValue(value), hosts: [], locations };
}

const A = secret('A', 'va"lu\\e/of a=é');
const B = secret('B', 'second&value');
const HEADER_ONLY = secret('H', 'header-only-value', [{ kind: 'header' }]);
const ALL = [A, B, HEADER_ONLY];

interface Outcome {
  readonly text: string;
  readonly stream: BodySubstitutionStream;
}

function apply(format: BodyFormat, pieces: readonly string[], bound: readonly BoundSecret[] = ALL): Outcome {
  const stream = new BodySubstituter(ALL).stream(format, bound);
  const output: Buffer[] = pieces.map((piece) => Buffer.from(stream.push(Buffer.from(piece))));
  output.push(stream.end());
  return { text: Buffer.concat(output).toString(), stream };
}

function whole(contentType: string, text: string, bound: readonly BoundSecret[] = ALL): string {
  return apply(bodyFormat([contentType]), [text], bound).text;
}

const HERE = A.placeholder;
const MULTIPART = 'multipart/form-data; boundary=xyz';

/** A multipart body of parts: extra head lines, and content. */
function multipart(...parts: readonly (readonly [head: string, content: string])[]): string {
  const text = parts.map(
    ([head, content], index) =>
      `--xyz\r\nContent-Disposition: form-data; name="p${index}"\r\n${head}\r\n${content}\r\n`,
  );
  return `${text.join('')}--xyz--\r\n`;
}

describe('BodySubstitutionStream', () => {
  it('writes a value as the content type asks for', () => {
    assert.equal(whole('application/json', `{"k":"${HERE}"}`), '{"k":"va\\"lu\\\\e/of a=é"}');
    assert.deepEqual(JSON.parse(whole('application/problem+json; charset=utf-8', `{"k":"${HERE}"}`)), {
      k: A.value.reveal(),
    });
    assert.equal(whole('application/x-ndjson', `{"k":"${HERE}"}\n{}\n`), '{"k":"va\\"lu\\\\e/of a=é"}\n{}\n');
    const form = whole('application/x-www-form-urlencoded', `a=${HERE}&b=${B.placeholder}`);
    assert.equal(new URLSearchParams(form).get('a'), A.value.reveal());
    assert.equal(new URLSearchParams(form).get('b'), B.value.reveal());
    assert.equal(whole('text/plain', `<${HERE}>`), `<${A.value.reveal()}>`);
    assert.equal(whole('application/xml', `<${HERE}>`), `<${A.value.reveal()}>`);
  });

  it('finds a placeholder that is written with escapes, where the format has them', () => {
    const unicode = [...HERE].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
    const expected = '"va\\"lu\\\\e/of a=é"';
    for (const written of [unicode, unicode.replaceAll('\\u005f', '\\u005F'), `\\u0073${HERE.slice(1)}`]) {
      assert.equal(whole('application/json', `"${written}"`), expected);
      assert.equal(whole('text/plain', written), written);
    }
    const slashed = { ...A, placeholder: 'sp/A/q1w2e3' };
    const stream = new BodySubstituter([slashed]).stream({ kind: 'json' }, [slashed]);
    assert.equal(stream.push(Buffer.from('"sp\\/A/q1w2e3"')).toString(), expected);
    const percent = [...HERE].map((char) => `%${char.charCodeAt(0).toString(16)}`).join('');
    for (const written of [percent, percent.toUpperCase().replaceAll('%5F', '_'), `%73p%5f${HERE.slice(3)}`]) {
      assert.equal(whole('application/x-www-form-urlencoded', `k=${written}`), 'k=va%22lu%5Ce%2Fof%20a%3D%C3%A9');
      assert.equal(whole('application/json', written), written);
    }
  });

  it('reads escapes as a parser does: an escaped backslash begins none', () => {
    const text = `"\\\\u0073${HERE.slice(1)} \\\\${HERE} \\n${HERE.slice(1)} \\x${HERE}"`;
    const value = 'va\\"lu\\\\e/of a=é';
    assert.equal(
      whole('application/json', text),
      `"\\\\u0073${HERE.slice(1)} \\\\${value} \\n${HERE.slice(1)} \\x${value}"`,
    );
    assert.equal(
      whole('application/x-www-form-urlencoded', `%%73${HERE.slice(1)}&%7`),
      '%va%22lu%5Ce%2Fof%20a%3D%C3%A9&%7',
    );
  });

  it('does not search what it put in, nor across it', () => {
    const nested = secret('A', `x${B.placeholder}`);
    const stream = new BodySubstituter([nested, B]).stream({ kind: 'raw' }, [nested, B]);
    const text = stream.push(Buffer.from(`${nested.placeholder}|sp_${nested.placeholder}A_q1w2e3`)).toString();
    assert.equal(text + stream.end().toString(), `x${B.placeholder}|sp_x${B.placeholder}A_q1w2e3`);
    assert.deepEqual([...stream.released], ['A']);
  });

  it('leaves what is not bound or not allowed, and says so', () => {
    const text = `${A.placeholder} ${B.placeholder} ${HEADER_ONLY.placeholder}`;
    const outcome = apply({ kind: 'raw' }, [text], [B, HEADER_ONLY]);
    assert.equal(outcome.text, `${A.placeholder} second&value ${HEADER_ONLY.placeholder}`);
    assert.deepEqual([...outcome.stream.released], ['B']);
    assert.deepEqual([...outcome.stream.stray], ['A', 'H']);
  });

  it('puts nothing into messages that carry lengths', () => {
    for (const type of [
      'application/grpc',
      'application/grpc-web+proto',
      'application/x-protobuf',
      'application/foo+proto',
    ]) {
      const outcome = apply(bodyFormat([type]), [`\0\0\0\0\x10${HERE}`]);
      assert.equal(outcome.text, `\0\0\0\0\x10${HERE}`);
      assert.deepEqual([[...outcome.stream.released], [...outcome.stream.stray]], [[], ['A']], type);
    }
    assert.equal(bodyFormat(['application/json', 'text/plain']).kind, 'opaque');
  });

  it('takes multipart bodies apart', () => {
    const json = 'Content-Type: application/json\r\n';
    const text = multipart(
      ['', HERE],
      [json, `"${HERE}"`],
      ['content-type: application/x-protobuf\r\n', HERE],
      ['', ''],
      ['', HERE],
    );
    const expected = multipart(
      ['', A.value.reveal()],
      [json, '"va\\"lu\\\\e/of a=é"'],
      ['content-type: application/x-protobuf\r\n', HERE],
      ['', ''],
      ['', A.value.reveal()],
    );
    assert.equal(whole(MULTIPART, text), expected);
    assert.equal(whole('multipart/mixed; charset="a;b"; Boundary="xyz"', text), expected);
    const around = `${HERE}\r\n--xyz\r\nX: ${HERE}\r\n\r\n--xyzz\r\n--xyz-\r\n${HERE}\r\n--xyz \t\r\n\r\n${B.placeholder}\r\n--xyz--${HERE}`;
    assert.equal(
      whole(MULTIPART, around),
      `${HERE}\r\n--xyz\r\nX: ${HERE}\r\n\r\n--xyzz\r\n--xyz-\r\n${A.value.reveal()}\r\n--xyz \t\r\n\r\nsecond&value\r\n--xyz--${HERE}`,
    );
    assert.equal(whole('multipart/form-data', HERE), A.value.reveal());
    // Without a delimiter there is no part.
    assert.equal(whole(MULTIPART, HERE), HERE);
  });

  it('fails closed where the format cannot carry the value', () => {
    const lone = secret('A', 'half \ud800 of a pair');
    for (const format of [{ kind: 'raw' }, { kind: 'json' }, { kind: 'form' }] as const) {
      const stream = new BodySubstituter([lone]).stream(format, [lone]);
      assert.equal(stream.push(Buffer.from(`before ${lone.placeholder} after`)).length, 0);
      assert.equal(stream.end().length, 0);
      assert.equal(stream.failure?.name, 'A');
      assert.equal(stream.released.size, 0);
    }
    const delimiter = secret('A', 'a\r\n--xyz\r\nb');
    const stream = new BodySubstituter([delimiter]).stream({ kind: 'multipart', boundary: 'xyz' }, [delimiter]);
    stream.push(Buffer.from(multipart(['', delimiter.placeholder])));
    assert.match(stream.failure?.reason ?? '', /delimiter/);
  });

  it('passes chunks on as they are, and holds back a beginning only', () => {
    const stream = new BodySubstituter(ALL).stream({ kind: 'json' }, ALL);
    const chunk = Buffer.from('{"nothing":"here\\n"}');
    assert.equal(stream.push(chunk), chunk);
    assert.equal(stream.push(Buffer.from('abc sp_A')).toString(), 'abc ');
    assert.equal(stream.push(Buffer.from('\\u005')).toString(), '');
    assert.equal(stream.push(Buffer.from('1 \\u00')).toString(), 'sp_A\\u0051 ');
    assert.equal(stream.end().toString(), '\\u00');
  });

  const pieces = fc.oneof(
    fc.constantFrom(
      ...ALL.map(({ placeholder }) => placeholder),
      '\r\n--xyz',
      '--xyz',
      '--',
      '\r\n',
      '\r\n\r\n',
      '-',
      ' ',
    ),
    fc.constantFrom(
      'sp_',
      '\\',
      '\\u',
      '\\u0073p_A_',
      '%',
      '%73p%5FA',
      'Content-Type: application/json\r\n',
      '_q1w2e3',
      '"',
      'é',
    ),
    fc.nat(A.placeholder.length).map((length) => A.placeholder.slice(0, length)),
    fc.array(fc.nat(2), { minLength: 11, maxLength: 11 }).map((how) =>
      [...A.placeholder]
        .map((char, index) => {
          const code = char.charCodeAt(0).toString(16);
          return how[index] === 0 ? char : how[index] === 1 ? `\\u00${code}` : `%${code}`;
        })
        .join(''),
    ),
  );
  const formats = fc.constantFrom<BodyFormat>(
    { kind: 'raw' },
    { kind: 'json' },
    { kind: 'form' },
    { kind: 'opaque' },
    { kind: 'multipart', boundary: 'xyz' },
  );

  it('gives the same bytes for any chunking, and redaction takes every value out again', () => {
    const redactor = new Redactor(ALL.map(({ name, placeholder, value }) => ({ name, placeholder, values: [value] })));
    fc.assert(
      fc.property(
        formats,
        fc.array(pieces, { maxLength: 12 }),
        fc.array(fc.nat(9), { minLength: 1 }),
        (format, parts, cuts) => {
          const body = Buffer.from(parts.join(''));
          const once = new BodySubstituter(ALL).stream(format, ALL);
          const expected = Buffer.concat([once.push(Buffer.from(body)), once.end()]);
          const stream = new BodySubstituter(ALL).stream(format, ALL);
          const output: Buffer[] = [];
          let at = 0;
          for (let turn = 0; at < body.length; turn += 1) {
            const next = at + 1 + cuts[turn % cuts.length]!;
            const chunk = Buffer.from(body.subarray(at, next));
            output.push(Buffer.from(stream.push(chunk)));
            chunk.fill(0);
            at = next;
          }
          output.push(stream.end());
          assert.equal(Buffer.concat(output).toString('latin1'), expected.toString('latin1'));
          assert.deepEqual([stream.released, stream.stray], [once.released, once.stray]);
          const clean = redactor.redactBytes(expected).toString();
          for (const { value } of ALL) {
            const text = value.reveal();
            for (const form of [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)]) {
              assert.ok(!clean.includes(form), clean);
            }
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
