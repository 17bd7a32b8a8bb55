import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseHostPattern } from './host-pattern.ts';
import { createNetworkPolicy, decideAddress, decideHost, parseKeptRule } from './network-policy.ts';
import { describePresets, findPreset, PRESET_NAMES, PRESETS } from './presets.ts';

const DOCUMENT = new URL('../../../../docs/policy-presets.md', import.meta.url);

test('describePresets() is what docs/policy-presets.md holds; SALLYPORT_WRITE_GOLDEN=1 writes it', () => {
  const text = describePresets();
  if (process.env['SALLYPORT_WRITE_GOLDEN'] === '1') writeFileSync(DOCUMENT, text);
  assert.equal(text, readFileSync(DOCUMENT, 'utf8'));
});

test('PRESETS have canonical patterns, each once, with a reason, and nothing that reaches further than it looks', () => {
  assert.deepEqual(
    PRESETS.map(({ name }) => name),
    PRESET_NAMES,
  );
  for (const { rules } of PRESETS) {
    assert.equal(new Set(rules.map(({ pattern }) => pattern)).size, rules.length);
    for (const { pattern, reason } of rules) {
      const parsed = parseHostPattern(pattern, 'network');
      assert.equal(parsed.text, pattern);
      assert.equal(parsed.warning, undefined, pattern);
      assert.match(reason, /\S/);
    }
  }
});

const policyOf = (name: string) =>
  createNetworkPolicy({
    allow: (findPreset(name)?.rules ?? []).map(({ pattern }) =>
      parseKeptRule({ action: 'allow', pattern }, null, name),
    ),
  });

test('locked allows nothing, balanced no names but its own, open every name and no address that is not public', () => {
  const [locked, balanced, open] = PRESET_NAMES.map(policyOf);
  assert.ok(locked !== undefined && balanced !== undefined && open !== undefined);
  assert.equal(decideHost(locked, 'pypi.org', 443).verdict, 'deny');
  assert.equal(decideHost(balanced, 'pypi.org', 443).verdict, 'allow');
  for (const host of [
    'gist.github.com',
    'api.github.com',
    'upload.pypi.org',
    'pastebin.com',
    'evil.example',
    '93.184.215.14',
  ]) {
    assert.equal(decideHost(balanced, host, 443).verdict, 'deny', host);
  }
  assert.equal(decideHost(balanced, 'github.com', 22).verdict, 'deny');
  const anywhere = decideHost(open, 'evil.example', 443);
  assert.ok(anywhere.verdict === 'allow');
  assert.equal(anywhere.rule, 'preset open: policy allow network **');
  for (const [host, port] of [
    ['93.184.215.14', 443],
    ['10.0.0.1', 80],
    ['evil.example', 22],
  ] as const) {
    assert.equal(decideHost(open, host, port).verdict, 'deny', host);
  }
  for (const address of ['127.0.0.1', '10.0.0.1', '169.254.169.254', '::1', 'fd00::1']) {
    assert.equal(decideAddress(open, 'evil.example', 443, address).verdict, 'deny', address);
  }
});
