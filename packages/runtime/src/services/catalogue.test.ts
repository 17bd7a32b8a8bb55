import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parsePathGlob } from '../policy/path-glob.ts';
import { SERVICES, findService, isServiceName } from './catalogue.ts';
import { fillSentinel } from './sentinel.ts';

/** The formats by which validators and secret scanners know the vendors' keys. */
const KEY_FORMATS: Readonly<Record<string, RegExp>> = {
  ANTHROPIC_API_KEY: /^sk-ant-api03-[A-Za-z0-9_-]{93}AA$/,
  AWS_ACCESS_KEY_ID: /^AKIA[A-Z2-7]{16}$/,
  AWS_SECRET_ACCESS_KEY: /^[A-Za-z0-9/+]{40}$/,
  AWS_SESSION_TOKEN: /^IQoJb3JpZ2luX2Vj[A-Za-z0-9/+]{50,}={0,2}$/,
  CURSOR_API_KEY: /^crsr_[A-Za-z0-9_-]{64}$/,
  GH_TOKEN: /^ghp_[A-Za-z0-9]{36}$/,
  GITHUB_TOKEN: /^ghp_[A-Za-z0-9]{36}$/,
  GITLAB_TOKEN: /^glpat-[A-Za-z0-9_-]{20}$/,
  GEMINI_API_KEY: /^AIza[A-Za-z0-9_-]{35}$/,
  GOOGLE_API_KEY: /^AIza[A-Za-z0-9_-]{35}$/,
  GROQ_API_KEY: /^gsk_[A-Za-z0-9]{52}$/,
  HF_TOKEN: /^hf_[A-Za-z]{34}$/,
  HUGGING_FACE_HUB_TOKEN: /^hf_[A-Za-z]{34}$/,
  MISTRAL_API_KEY: /^[A-Za-z0-9]{32}$/,
  NEBIUS_API_KEY: /^v1\.[A-Za-z0-9_-]{40,}$/,
  NPM_TOKEN: /^npm_[A-Za-z0-9]{36}$/,
  NODE_AUTH_TOKEN: /^npm_[A-Za-z0-9]{36}$/,
  OPENAI_API_KEY: /^sk-proj-[A-Za-z0-9_-]{58}T3BlbkFJ[A-Za-z0-9_-]{58}$/,
  OPENROUTER_API_KEY: /^sk-or-v1-[0-9a-f]{64}$/,
  PYPI_TOKEN: /^pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}$/,
  TWINE_PASSWORD: /^pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}$/,
  UV_PUBLISH_TOKEN: /^pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}$/,
  XAI_API_KEY: /^xai-[A-Za-z0-9_]{80}$/,
};

const variables = SERVICES.flatMap(({ variables }) => variables);
const randomBytes = fc.uint8Array({ minLength: 32, maxLength: 32 });

test("fillSentinel() makes what passes for the vendor's key, for every variable and all random bytes", () => {
  assert.deepEqual(variables.map(({ name }) => name).toSorted(), Object.keys(KEY_FORMATS).toSorted());
  for (const { name, sentinel } of variables) {
    fc.assert(
      fc.property(randomBytes, (bytes) => {
        const made = fillSentinel(sentinel, bytes);
        assert.match(made, KEY_FORMATS[name] ?? /^$/u, name);
        // It passes through URLs, shells, forms, JSON and header fields as it is.
        assert.match(made, /^[A-Za-z0-9._~-]+$/u);
      }),
      { numRuns: 50 },
    );
  }
});

test('fillSentinel() is as random as 80 bits at least, and the same for the same bytes', () => {
  const BITS: Readonly<Record<string, number>> = { base62: 5.95, letters: 5.7, hex: 4, base32: 5 };
  for (const { name, sentinel } of variables) {
    let bits = 0;
    for (const [, alphabet = 'base62', length = '22'] of sentinel.matchAll(/\{(?:rand|([a-z0-9]+):(\d+))\}/gu)) {
      bits += (BITS[alphabet] ?? 0) * Number(length);
    }
    assert.ok(bits >= 80 && bits <= 256, `${name} has ${bits} bits`);
  }
  fc.assert(
    fc.property(randomBytes, randomBytes, (one, other) => {
      const [first, second] = [one, other].map((bytes) => fillSentinel('a{hex:32}b{letters:3}', bytes));
      assert.equal(first, fillSentinel('a{hex:32}b{letters:3}', one));
      if (one.subarray(16).join() !== other.subarray(16).join()) assert.notEqual(first, second);
    }),
  );
});

test('fillSentinel() refuses too few bytes, and templates with nothing random or something unknown', () => {
  const bytes = new Uint8Array(32);
  assert.throws(() => fillSentinel('k-{rand}', new Uint8Array(31)), { code: 'INTERNAL' });
  for (const template of ['', 'sk-fixed', '{random}', '{rand}{', '{hex}', '{octal:3}', '{rand:4}']) {
    assert.throws(() => fillSentinel(template, bytes), { code: 'INTERNAL' }, template);
  }
});

test('SERVICES are sound: names, variables, hosts, paths, fields and documentation', () => {
  assert.deepEqual(
    SERVICES.map(({ name }) => name),
    SERVICES.map(({ name }) => name).toSorted(),
  );
  assert.equal(new Set(SERVICES.map(({ name }) => name)).size, SERVICES.length);
  assert.equal(new Set(variables.map(({ name }) => name)).size, variables.length, 'no variable is of two services');
  const taken = new Map<string, string>();
  for (const { name, title, variables, endpoints, documentation } of SERVICES) {
    assert.ok(isServiceName(name) && title !== '' && variables.length > 0 && endpoints.length > 0, name);
    assert.ok(documentation.length > 0, name);
    for (const page of documentation) assert.equal(new URL(page).protocol, 'https:', page);
    for (const variable of variables) assert.match(variable.name, /^[A-Z][A-Z0-9_]*$/u);
    for (const { hosts, paths = [], overwrite, strip, signer } of endpoints) {
      for (const host of hosts) {
        assert.match(host, /^(?:\*\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+$/u);
        assert.equal(taken.get(host) ?? name, name, `${host} is of one service`);
        taken.set(host, name);
      }
      for (const path of paths) parsePathGlob(path);
      assert.equal(overwrite.length === 0, signer !== undefined, `${name} overwrites or signs`);
      const written = overwrite.flatMap((place) =>
        place.kind === 'header' ? [place.name] : place.kind === 'basic' ? ['authorization'] : [],
      );
      for (const place of overwrite) if (place.kind === 'header') assert.ok(place.text.includes('{value}'));
      assert.equal(new Set(written).size, written.length);
      for (const field of [...written, ...strip.headers]) assert.match(field, /^[a-z0-9-]+$/u);
      assert.deepEqual(strip.headers, [...new Set(strip.headers)].toSorted(), `${name}: sorted, each once`);
      assert.deepEqual(strip.query, [...new Set(strip.query)].toSorted(), `${name}: sorted, each once`);
      for (const field of strip.headers) assert.ok(!written.includes(field), `${name} strips what it writes: ${field}`);
      if (signer !== undefined) continue;
      const covered = [...written, ...strip.headers];
      for (const field of ['authorization', 'cookie']) assert.ok(covered.includes(field), `${name} lets ${field} pass`);
    }
    // The general endpoint comes last, or the ones behind it would never count.
    for (const [index, { hosts, paths }] of endpoints.entries()) {
      const before = endpoints.slice(0, index).filter((other) => other.paths === undefined);
      assert.ok(!before.some((other) => other.hosts.some((host) => hosts.includes(host))), `${name} ${paths?.join()}`);
    }
  }
});

test('findService() knows the catalogue and nothing else', () => {
  for (const service of SERVICES) assert.equal(findService(service.name), service);
  for (const name of ['', 'OpenAI', 'my-service', 'constructor', '__proto__'])
    assert.equal(findService(name), undefined);
});

test('isServiceName() takes what a kit may declare', () => {
  for (const name of ['a', '7', 'my-service', 'acme.internal', 'a_b', 'x'.repeat(64)]) assert.ok(isServiceName(name));
  for (const name of ['', 'A', 'a b', '-a', 'a-', '.a', 'a/b', 'a:b', 'é', 'a\n', 'x'.repeat(65)]) {
    assert.ok(!isServiceName(name), name);
  }
});
