import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { SallyportError } from '@sallyport/sdk';
import { parseReference } from './reference.ts';

const ORIGIN = { directory: '/work/project', home: '/home/user' };
const ARN = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/key-AbCdEf';

test('parseReference() reads each form, and has one spelling for it', () => {
  const cases: readonly [string, object][] = [
    ['op://Private/GitHub/token', { kind: 'op', canonical: 'op://Private/GitHub/token' }],
    ['OP://My Vault/Git Hub/section_1/field.x', { kind: 'op', canonical: 'op://My Vault/Git Hub/section_1/field.x' }],
    ['op://Büro/x/y', { kind: 'op', canonical: 'op://Büro/x/y' }],
    ['op://V/I/one-time password?attribute=otp', { kind: 'op', canonical: 'op://V/I/one-time password?attribute=otp' }],
    [
      'vault://secret/app/db#password',
      { path: ['secret', 'app', 'db'], key: 'password', canonical: 'vault://secret/app/db#password' },
    ],
    ['vault://kv/a b#x#y/z', { path: ['kv', 'a b'], key: 'x#y/z' }],
    [
      'aws-sm://prod/key',
      { secretId: 'prod/key', region: null, version: null, key: null, canonical: 'aws-sm://prod/key' },
    ],
    [
      'aws-sm://k?version=AWSPREVIOUS&region=us-east-1#json.key',
      {
        secretId: 'k',
        region: 'us-east-1',
        version: 'AWSPREVIOUS',
        key: 'json.key',
        canonical: 'aws-sm://k?region=us-east-1&version=AWSPREVIOUS#json.key',
      },
    ],
    [`aws-sm://${ARN}`, { secretId: ARN, region: 'eu-west-1', canonical: `aws-sm://${ARN}` }],
    [
      `aws-sm://${ARN}?region=eu-west-1#k`,
      { secretId: ARN, region: 'eu-west-1', key: 'k', canonical: `aws-sm://${ARN}#k` },
    ],
    ['file:/etc/key', { kind: 'file', path: '/etc/key', canonical: 'file:/etc/key' }],
    ['file:///etc/./x/../key', { kind: 'file', path: '/etc/key', canonical: 'file:/etc/key' }],
    ['file:key.txt', { path: '/work/project/key.txt', canonical: 'file:/work/project/key.txt' }],
    ['file:-n', { path: '/work/project/-n' }],
    ['file:~/key', { path: '/home/user/key' }],
    ['file:~', { path: '/home/user' }],
    ['file:~other/key', { path: '/work/project/~other/key' }],
    ['file:a b#c?d', { path: '/work/project/a b#c?d' }],
    ['env:TOKEN_2', { kind: 'env', variable: 'TOKEN_2', canonical: 'env:TOKEN_2' }],
  ];
  for (const [text, expected] of cases) {
    const reference = parseReference(text, ORIGIN);
    assert.deepEqual({ ...reference, ...expected }, reference, text);
    assert.deepEqual(parseReference(reference.canonical, { directory: '/elsewhere', home: '/nowhere' }), reference);
  }
});

test('parseReference() says which part is wrong', () => {
  const cases: readonly [string, RegExp][] = [
    ['', /empty/],
    ['op:Private/x/y', /two slashes/],
    ['op://', /item and the field are missing/],
    ['op://Private/GitHub', /the field is missing/],
    ['op://Private//token', /the item is empty/],
    ['op:// /x/y', /the vault is empty/],
    ['op://a/b/c/d/e', /more parts/],
    ['op://a/$(id)/c', /the item, "\$\(id\)", may/],
    ['op://a/b/c?x=y', /"\?", "x=y"/],
    ['op://a/b/c?attribute=$(id)', /"\?"/],
    ['vault://secret/app', /the key is missing/],
    ['vault://secret/app#', /the key is missing/],
    ['vault://secret#key', /path is missing behind the mount/],
    ['vault:///app#key', /the mount has an empty part/],
    ['vault://secret//app#key', /the path has an empty part/],
    ['vault://secret/app/#key', /the path has an empty part/],
    ['vault://secret/../sys/x#key', /no part "\.\."/],
    ['vault://secret/%2e%2e/x#key', /no "%"/],
    ['vault://secret/app?version=1#key', /no "\?"/],
    ['aws-sm://', /name of the secret is missing/],
    ['aws-sm://a b', /the name, "a b"/],
    ['aws-sm://x#', /JSON key after "#" is empty/],
    ['aws-sm://x?regoin=us-east-1', /not "regoin=us-east-1"/],
    ['aws-sm://x?region=', /"" is not a usable region/],
    ['aws-sm://x?region=evil.example/', /is not a usable region/],
    ['aws-sm://x?region=us-east-1&region=us-east-2', /region is there twice/],
    ['aws-sm://x?version=a b', /is not a usable version/],
    ['aws-sm://arn:aws:iam::123456789012:role/x', /not the ARN of a secret/],
    [`aws-sm://${ARN}?region=us-east-1`, /is not the ARN's/],
    ['file:', /the path is missing/],
    ['file://host/path', /no host/],
    ['env:', /name of an environment variable/],
    ['env:A-B', /name of an environment variable/],
    ['env:A=B', /name of an environment variable/],
    ['--version', /kind of source/],
    ['-op://a/b/c', /kind of source/],
    ['https://example.com/', /kind of source/],
    ['op://a/b/c\n', /control character/],
    ['op://a/b/c\0', /control character/],
    ['file:\ud800', /half of a character/],
    [`file:${'x'.repeat(2100)}`, /longer than/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseReference(text, ORIGIN), { code: 'INVALID_REFERENCE', message }, text);
  }
  assert.throws(() => parseReference('file:x', { directory: 'relative' }), { code: 'INVALID_REFERENCE' });
});

test('parseReference() does not quote what may be a value, given to the wrong option', () => {
  for (const text of ['sk-live-canary', 'canary:canary', 'env:sk-live-canary', 'canary\n']) {
    assert.throws(
      () => parseReference(text, ORIGIN),
      (error: Error) => !error.message.includes('canary'),
    );
  }
});

test('parseReference() takes any text for a reference that means one thing, or refuses it', () => {
  const part = fc.string({
    unit: fc.constantFrom('a', '/', '.', '#', '?', '=', '&', '%', '-', ' ', '~', '\n', 'region', 'é', '"', '$'),
  });
  const scheme = fc.constantFrom('op://', 'vault://', 'aws-sm://', 'file:', 'env:', '', '-');
  fc.assert(
    fc.property(scheme, part, (start, rest) => {
      let reference;
      try {
        reference = parseReference(start + rest, ORIGIN);
      } catch (error) {
        assert.ok(error instanceof SallyportError && error.code === 'INVALID_REFERENCE');
        return;
      }
      assert.ok(reference.canonical.startsWith(start));
      assert.deepEqual(parseReference(reference.canonical, { directory: '/elsewhere', home: '/nowhere' }), reference);
    }),
    { numRuns: 2000 },
  );
});
