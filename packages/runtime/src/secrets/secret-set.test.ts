import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import * as fc from 'fast-check';
import type { Authority } from '../http/message.ts';
import { derivePlaceholder, PLACEHOLDER_RANDOM_BYTES } from './placeholder.ts';
import { boundTo, createSecretSet, indexSecrets, type SecretInput, type SecretSet } from './secret-set.ts';
import { parseSecretSpec } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';
import { SubstringIndex } from './substring-index.ts';

function input(text: string): SecretInput {
  const spec = parseSecretSpec(text);
  assert.ok(spec.kind === 'bound' && spec.value !== undefined, text);
  return { env: spec.env, value: spec.value, hosts: spec.hosts };
}

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof SallyportError && error.code === code;
}

/** Different bytes for each variable. */
function placeholderFor(env: string): string {
  const bytes = new Uint8Array(PLACEHOLDER_RANDOM_BYTES);
  let state = 2_166_136_261;
  for (let index = 0; index < 512; index += 1) {
    state = Math.imul(state ^ env.charCodeAt(index % env.length) ^ index, 16_777_619);
    bytes[index % bytes.length] = (bytes[index % bytes.length] ?? 0) ^ (state >>> 24);
  }
  return derivePlaceholder(env, bytes);
}

function setOf(
  texts: readonly string[],
  options: { plainNames?: readonly string[]; placeholders?: Readonly<Record<string, string>> } = {},
): SecretSet {
  return createSecretSet({
    inputs: texts.map(input),
    locations: [{ kind: 'header' }],
    plainNames: options.plainNames ?? [],
    placeholderFor: (env) => options.placeholders?.[env] ?? placeholderFor(env),
  });
}

function names(set: SecretSet, scheme: 'https' | 'http', host: string, port: number): string {
  return set
    .secretsFor({ scheme, host, port })
    .map(({ name }) => name)
    .join();
}

test('derivePlaceholder() is sp_ENV_ and 22 characters of base 62, a function of its bytes', () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,20}$/),
      fc.uint8Array({ minLength: 32, maxLength: 40 }),
      (env, bytes) => {
        const placeholder = derivePlaceholder(env, bytes);
        assert.match(placeholder.slice(env.length + 4), /^[0-9A-Za-z]{22}$/);
        assert.ok(placeholder.startsWith(`sp_${env}_`));
        assert.equal(derivePlaceholder(env, bytes), placeholder);
      },
    ),
  );
  assert.throws(() => derivePlaceholder('A', new Uint8Array(31)), hasCode('INTERNAL'));
});

test('derivePlaceholder() uses every character equally at every position', () => {
  const counts = new Map<string, number>();
  const runs = 6200;
  let state = 1;
  for (let run = 0; run < runs; run += 1) {
    const bytes = Uint8Array.from({ length: 32 }, () => {
      // xorshift32: a fixed sequence, so that the test is the same each time.
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 16) & 0xff;
    });
    const tail = derivePlaceholder('A', bytes).slice(5);
    for (const position of [0, 10, 21]) {
      const key = `${position}${tail[position]}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  assert.equal(counts.size, 3 * 62);
  // 100 expected at each place with a deviation of 10; a byte modulo 62 would put 121 and 97.
  for (const position of ['0', '10', '21']) {
    const group = [...counts].filter(([key]) => key.slice(0, -1) === position).map(([, count]) => count);
    const chiSquare = group.reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0);
    assert.ok(chiSquare < 120, `chi-square ${chiSquare} with 61 degrees of freedom at position ${position}`);
  }
});

test('createSecretSet() binds each secret to its scheme, host and port', () => {
  const set = setOf([
    'A=value-of-a@api.test.net',
    'B=value-of-b1@http://plain.test.net,*.test.net:8443',
    'C=value-of-c11@**.test.net',
    'D=value-of-d111@127.0.0.1:8443,[2001:db8::1]',
  ]);
  assert.equal(names(set, 'https', 'api.test.net', 443), 'C,A');
  assert.equal(names(set, 'http', 'api.test.net', 443), '');
  assert.equal(names(set, 'http', 'api.test.net', 80), '');
  assert.equal(names(set, 'https', 'api.test.net', 8443), 'B');
  assert.equal(names(set, 'https', 'x.api.test.net', 443), 'C');
  assert.equal(names(set, 'https', 'x.api.test.net', 8443), '');
  assert.equal(names(set, 'http', 'plain.test.net', 80), 'B');
  assert.equal(names(set, 'https', 'plain.test.net', 443), 'C');
  assert.equal(names(set, 'https', 'test.net', 443), '');
  assert.equal(names(set, 'https', '127.0.0.1', 8443), 'D');
  assert.equal(names(set, 'https', '2001:db8::1', 443), 'D');
  assert.equal(names(set, 'https', 'api.test.net.evil.test', 443), '');
  const authority: Authority = { scheme: 'https', host: 'api.test.net', port: 443 };
  assert.equal(set.secretsFor(authority), set.secretsFor({ ...authority }));
});

test('secretsFor() agrees with boundTo() for any authority', () => {
  const set = setOf([
    'A=value-of-a@a.test.net,*.b.test.net',
    'B=value-of-b@http://a.test.net,**.test.net:8443',
    'C=value-of-c@*.b.test.net:8443,10.0.0.1',
    'D=value-of-d@a.test.net',
  ]);
  const authority = fc.record({
    scheme: fc.constantFrom('https' as const, 'http' as const),
    host: fc.oneof(
      fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }).map((labels) => [...labels, 'test', 'net'].join('.')),
      fc.constantFrom('10.0.0.1', 'a.test.net.evil.test'),
    ),
    port: fc.constantFrom(80, 443, 8443),
  });
  fc.assert(
    fc.property(authority, (where) => {
      assert.deepEqual(
        set.secretsFor(where),
        set.secrets.filter((secret) => boundTo(secret, where)),
      );
    }),
  );
  for (let index = 0; index < 3000; index += 1)
    set.secretsFor({ scheme: 'https', host: `h${index}.test.net`, port: 8443 });
  assert.equal(names(set, 'https', 'a.test.net', 443), 'A,D', 'still right past the bound of what is remembered');
});

test('createSecretSet() puts the longest value first, and one value may contain another', () => {
  const set = setOf(['A=token-123@a.test', 'B=token-123-admin@a.test', 'C=zzzzzzzzz@a.test']);
  assert.deepEqual(
    set.secrets.map(({ env }) => env),
    ['B', 'A', 'C'],
  );
  assert.deepEqual(indexSecrets(set.secrets.toReversed()).secrets, set.secrets);
});

test('createSecretSet() merges one variable with one value, and refuses two values', () => {
  const set = setOf(['A=same-value@a.test', 'A=same-value@b.test,a.test', 'B=same-value@c.test']);
  assert.equal(set.secrets.length, 2);
  assert.equal(set.secrets[0]?.hosts.length, 2);
  assert.equal(names(set, 'https', 'b.test', 443), 'A');
  assert.throws(
    () => setOf(['A=value-canary-1@a.test', 'A=value-canary-2@b.test']),
    (error: unknown) => hasCode('SECRET_CONFLICT')(error) && !String(error).includes('canary'),
  );
});

test('createSecretSet() refuses what could not be told apart', () => {
  const conflicts: readonly (() => unknown)[] = [
    () => setOf(['A=value-of-a@a.test'], { plainNames: ['PATH', 'A'] }),
    () =>
      setOf(['A=value-of-a@a.test', 'B=value-of-b@a.test'], {
        placeholders: { A: 'same-placeholder', B: 'same-placeholder' },
      }),
    () =>
      setOf(['A=value-of-a@a.test', 'B=value-of-b@a.test'], {
        placeholders: { A: 'placeholder', B: 'my-placeholder-2' },
      }),
    () =>
      setOf(['A=value-of-a@a.test', 'B=value-of-b@a.test'], {
        placeholders: { A: 'placeholder-and-more', B: 'placeholder' },
      }),
    () => setOf(['A=value-of-a@a.test'], { placeholders: { A: 'short' } }),
    () => setOf(['A=x-placeholder-y@a.test'], { placeholders: { A: 'placeholder' } }),
    () => setOf(['A=value-of-a@a.test', 'B=my placeholder@a.test'], { placeholders: { A: 'placeholder' } }),
    () => setOf(['GITHUB_TOKEN=GITHUB_TOKEN@a.test']),
    () => setOf(['GITHUB_TOKEN=value-of-a@a.test', 'B=sp_GITHUB@a.test']),
  ];
  for (const [index, make] of conflicts.entries()) {
    assert.throws(
      make,
      (error: unknown) =>
        error instanceof SallyportError &&
        error.code === 'SECRET_CONFLICT' &&
        !/value-of|my placeholder|x-placeholder-y/.test(error.message),
      `case ${index}`,
    );
  }
});

test('SubstringIndex.within() finds exactly the texts inside another', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 8, maxLength: 14 });
  fc.assert(
    fc.property(
      fc.uniqueArray(text, { maxLength: 8 }),
      fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 60 }),
      (texts, hay) => {
        const found = new Set(new SubstringIndex(texts).within(hay));
        assert.deepEqual(
          found,
          new Set(
            texts
              .filter((needle) => hay.includes(needle))
              .toSorted((a, b) => [...found].indexOf(a) - [...found].indexOf(b)),
          ),
        );
      },
    ),
  );
  assert.throws(() => new SubstringIndex(['1234567']), TypeError);
});

test('createSecretSet() takes thousands of secrets without comparing each with each', () => {
  let reveals = 0;
  class CountedValue extends SecretValue {
    override reveal(): string {
      reveals += 1;
      return super.reveal();
    }
  }
  const hosts = input('A=value-of-a@api.test.net').hosts;
  const count = 3000;
  const inputs = Array.from({ length: count }, (_, index) => ({
    env: `SECRET_${index}`,
    value: new CountedValue(`value-number-${index}-end`),
    hosts,
  }));
  const set = createSecretSet({ inputs, locations: [], plainNames: [], placeholderFor });
  assert.equal(set.secrets.length, count);
  assert.equal(names(set, 'https', 'api.test.net', 443).split(',').length, count);
  assert.ok(reveals < count * 50, `${reveals} reveals`);
});
