import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import { findPreset, PRESETS } from '../policy/presets.ts';
import { MAX_STORED_RULES, RuleBook, type RuleDraft } from './rule-book.ts';

function stateDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-rules-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function open(context: TestContext, directory = stateDirectory(context)): RuleBook {
  const book = new RuleBook(directory);
  context.after(() => book.close());
  return book;
}

const draft = (pattern: string, change: Partial<RuleDraft> = {}): RuleDraft => ({
  sandbox: null,
  action: 'allow',
  pattern,
  methods: [],
  path: null,
  ...change,
});

const hasCode = (code: ErrorCode) => (error: unknown) => error instanceof SallyportError && error.code === code;

const shown = (book: RuleBook): string[] =>
  book
    .list()
    .map(({ sandbox, action, pattern, methods, path, preset }) =>
      [sandbox ?? '-', action, pattern, methods.join(','), path ?? '', preset ?? ''].join(' ').trimEnd(),
    );

test('RuleBook.add() keeps rules in their canonical form, each once, for all sandboxes and for one', (context) => {
  const directory = stateDirectory(context);
  assert.equal(RuleBook.exists(directory), false);
  const book = open(context, directory);
  const added = book.add([
    draft('EXAMPLE.com.', { methods: ['post', 'GET', 'get'], path: '/v1/**' }),
    draft('b\u00fccher.example:8443', { sandbox: 'worker', action: 'deny' }),
    draft('[2001:DB8::1]'),
  ]);
  assert.equal(added.length, 3);
  book.add([draft('example.com', { methods: ['GET', 'POST'], path: '/v1/**' })]);
  assert.deepEqual(shown(book), [
    '- allow example.com GET,POST /v1/**',
    '- allow [2001:db8::1]',
    'worker deny xn--bcher-kva.example:8443',
  ]);
  assert.deepEqual(
    book.listFor('other').map(({ pattern }) => pattern),
    ['example.com', '[2001:db8::1]'],
  );
  assert.equal(book.listFor('worker').length, 3);
  assert.equal(statSync(join(directory, 'book.db')).mode & 0o777, 0o600);
  // Another process has the same.
  assert.deepEqual(open(context, directory).list(), book.list());
});

test('RuleBook.add() stores all rules or none', (context) => {
  const book = open(context);
  for (const [rule, code] of [
    [draft('*'), 'INVALID_HOST_PATTERN'],
    [draft('example.com', { methods: ['GE T'] }), 'INVALID_METHOD'],
    [draft('example.com', { path: 'no-slash' }), 'INVALID_PATH_GLOB'],
  ] as const) {
    assert.throws(() => book.add([draft('good.example'), rule]), hasCode(code));
    assert.deepEqual(book.list(), []);
  }
  const many = Array.from({ length: MAX_STORED_RULES }, (_, index) => draft(`host-${index}.example`));
  book.add(many);
  assert.throws(() => book.add([draft('one.more')]), hasCode('INVALID_RULE'));
  assert.equal(book.list().length, MAX_STORED_RULES);
});

test('RuleBook.remove() takes away every rule for a pattern, in one scope', (context) => {
  const book = open(context);
  book.add([
    draft('example.com'),
    draft('example.com', { action: 'deny', methods: ['PUT'] }),
    draft('example.com', { sandbox: 'worker' }),
    draft('*.example.com'),
  ]);
  assert.deepEqual(book.remove('nobody', 'example.com'), []);
  assert.equal(book.remove(null, 'EXAMPLE.com', 'deny').length, 1);
  assert.equal(book.remove(null, 'EXAMPLE.com').length, 1);
  assert.deepEqual(shown(book), ['- allow *.example.com', 'worker allow example.com']);
  assert.throws(() => book.remove(null, '*'), hasCode('INVALID_HOST_PATTERN'));
  assert.equal(book.reset('worker'), 1);
  assert.equal(book.reset(), 1);
  assert.deepEqual(book.list(), []);
});

test('RuleBook.usePreset() replaces what another preset left, and nothing else', (context) => {
  const book = open(context);
  book.add([draft('github.com'), draft('pypi.org', { action: 'deny' })]);
  for (const preset of PRESETS) {
    book.usePreset(preset);
    const rules = book.list();
    assert.deepEqual(
      rules.filter((rule) => rule.preset !== null).map(({ pattern, preset: name }) => [pattern, name]),
      preset.rules.map(({ pattern }) => [pattern, preset.name]),
    );
    assert.equal(rules.filter((rule) => rule.preset === null).length, 2);
  }
  const balanced = findPreset('balanced');
  assert.ok(balanced !== undefined);
  book.usePreset(balanced);
  assert.equal(book.remove(null, 'github.com').length, 2, 'the own one, and that of the preset');
});

test('RuleBook.watch() hears of what another process stores', { timeout: 10_000 }, async (context) => {
  const directory = stateDirectory(context);
  const [one, other] = [open(context, directory), open(context, directory)];
  assert.deepEqual(one.list(), []);
  const heard = new Promise<void>((resolve) => one.watch(resolve));
  other.add([draft('example.com')]);
  await heard;
  assert.equal(one.list().length, 1);
});
