import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import { SecretValue } from '../secrets/secret-value.ts';
import type { StoredSecret } from '../secrets/stored-secret.ts';
import {
  composeSecrets,
  fetchedKey,
  isSameBinding,
  isSameSecrets,
  type SandboxSecretsInput,
} from './sandbox-secrets.ts';

const VALUE = 'canary-value-4711';

function custom(name: string, more: Partial<StoredSecret> = {}): StoredSecret {
  return {
    scope: { kind: 'global' },
    name,
    kind: 'custom',
    env: name,
    hosts: ['a.example'],
    locations: ['header'],
    methods: [],
    path: null,
    onViolation: 'pass',
    placeholder: null,
    source: { kind: 'value' },
    refreshMs: null,
    createdAt: 0,
    updatedAt: 0,
    ...more,
  };
}

const service = (name: string): StoredSecret => custom(name, { kind: 'service', env: null, hosts: [], locations: [] });

/** Secrets with their values; a value that is an error cannot be read. */
async function compose(
  secrets: readonly (readonly [StoredSecret, string | SallyportError])[],
  more: Partial<SandboxSecretsInput> = {},
  fetched?: ReadonlyMap<string, string>,
) {
  const values = new Map(secrets);
  return await composeSecrets(
    {
      sandbox: 'box',
      own: [],
      given: new Map(),
      named: [],
      plain: new Map(),
      placeholderKey: new Uint8Array(32).fill(7),
      placeholders: new Map(),
      stored: {
        list: () => [...values.keys()],
        value: async (secret) => {
          const value = values.get(secret) ?? '';
          if (typeof value !== 'string') throw value;
          return Buffer.from(value);
        },
      },
      ...more,
    },
    fetched,
  );
}

test('composeSecrets() derives placeholders from key, sandbox and variable alone', async () => {
  const A = custom('A');
  const first = await compose([[A, VALUE], [service('openai'), VALUE]]); // prettier-ignore
  assert.match(first.variables.get('A') ?? '', /^sp_A_[0-9A-Za-z]{22}$/);
  assert.match(first.variables.get('OPENAI_API_KEY') ?? '', /^sk-/);
  const rotated = await compose([[custom('A', { scope: { kind: 'sandbox', sandbox: 'box' } }), `${VALUE}2`], [service('openai'), `${VALUE}3`]]); // prettier-ignore
  assert.deepEqual(rotated.variables, first.variables, 'neither the value nor the scope is in it');
  for (const other of [{ sandbox: 'other' }, { placeholderKey: new Uint8Array(32).fill(8) }]) {
    const { variables } = await compose([[A, VALUE]], other);
    assert.notEqual(variables.get('A'), first.variables.get('A'));
  }
  const kept = await compose([[custom('A', { placeholder: 'mine-{rand}' }), VALUE]], {
    placeholders: first.placeholders,
  });
  assert.equal(kept.variables.get('A'), first.variables.get('A'), 'a sandbox that runs keeps what it has');
  const own = await compose([[custom('A', { placeholder: 'mine-{rand}' }), VALUE]]);
  assert.match(own.variables.get('A') ?? '', /^mine-[0-9A-Za-z]{22}$/);
  const twice = await compose([[A, VALUE]], { named: ['X', 'Y'].map((env) => ({ name: 'A', env })) });
  assert.notEqual(twice.variables.get('X'), twice.variables.get('Y'));
  const renamed = await compose([[service('github'), VALUE]], { named: [{ name: 'github', env: 'MINE' }] });
  assert.equal(renamed.variables.get('MINE'), renamed.variables.get('GH_TOKEN'));
});

test('composeSecrets() puts a service beside a secret that has its variable', async () => {
  const { set, variables } = await compose([[custom('K', { env: 'OPENAI_API_KEY', hosts: ['api.openai.com'] }), VALUE], [service('openai'), `${VALUE}2`]]); // prettier-ignore
  assert.deepEqual([set.secrets.length, set.services.length], [1, 1]);
  assert.match(variables.get('OPENAI_API_KEY') ?? '', /^sp_OPENAI_API_KEY_/);
  assert.notEqual(set.services[0]?.sentinels.get('OPENAI_API_KEY'), variables.get('OPENAI_API_KEY'));
});

test('composeSecrets() has values that are to be fetched, or cannot be read, come later', async () => {
  const dynamic = custom('D', { source: { kind: 'command', command: 'x' }, refreshMs: 1 });
  const locked = new SallyportError('STORE_LOCKED', 'The keychain is locked.');
  const before = await compose([[dynamic, 'unused'], [custom('L'), locked], [service('openai'), locked]]); // prettier-ignore
  assert.deepEqual(
    before.set.secrets.map(({ name, value }) => [name, value.isKnown]),
    [['D', false], ['L', false]],
  ); // prettier-ignore
  assert.equal(before.set.services[0]?.credential, null);
  assert.deepEqual(before.dynamic.map(({ secret }) => secret.name), ['D', 'L', 'openai']); // prettier-ignore
  assert.ok(before.dynamic.every(({ hosts }) => hosts.length > 0));
  assert.match(before.notices.join(), /secret L cannot be used: The keychain is locked.*openai/);
  const after = await compose([[dynamic, 'unused']], {}, new Map([[fetchedKey(dynamic), VALUE]]));
  assert.equal(after.set.secrets[0]?.value.equals(new SecretValue(VALUE)), true);
  assert.equal(after.dynamic.length, 1, 'it is fetched again one day');
});

test('composeSecrets() leaves a stored secret out that cannot be told from others, and says so', async () => {
  const A = custom('A');
  const { variables } = await compose([[A, VALUE]]);
  const placeholder = variables.get('A') ?? '';
  const many = Array.from({ length: 40 }, (_, index): [StoredSecret, string] => [
    custom(`B${index}`),
    `${VALUE}${index}`,
  ]);
  const { set, notices, variables: rest } = await compose([[A, VALUE], ...many, [custom('C'), `x${placeholder}x`], [custom('S'), 'short']]); // prettier-ignore
  assert.equal(set.secrets.length, 41);
  assert.match(notices.join('\n'), /secret C is left out: The value of C contains the placeholder of A/);
  assert.match(notices.join('\n'), /secret S is left out: .*fewer than 8 bytes/);
  assert.ok(!rest.has('C') && !rest.has('S') && rest.has('B39'));
  const own = { env: 'O', name: 'O', placeholder: 'sp_O_0123456789', value: new SecretValue(`x${placeholder}`), hosts: [], locations: [] }; // prettier-ignore
  const other = await compose([[A, VALUE]], { own: [own] });
  assert.deepEqual(other.set.secrets.map(({ name }) => name), ['O'], 'what was asked for goes first'); // prettier-ignore
  const clash = { ...own, env: 'P', name: 'P', value: new SecretValue('another value') };
  await assert.rejects(compose([], { own: [own, clash] }), { code: 'SECRET_CONFLICT' });
});

test('composeSecrets() gives plain values to whoever asks, but none that another secret protects', async () => {
  const P = custom('P', { kind: 'plain', hosts: [], locations: [] });
  const named = [{ name: 'P', env: 'SEEN' }];
  const plain = await compose([[P, 'plain value']], { named });
  assert.deepEqual([...plain.variables], [['SEEN', 'plain value']]);
  assert.deepEqual([...plain.placeholders], [], 'a value is no placeholder');
  const exposed = await compose([[P, `x${VALUE}`], [custom('A'), VALUE]], { named }); // prettier-ignore
  assert.deepEqual(exposed.refusals.map(({ code }) => code), ['SECRET_CONFLICT']); // prettier-ignore
  assert.ok(!exposed.variables.has('SEEN') && !exposed.refusals.join().includes(VALUE));
  const nul = await compose([[P, 'a\0b']], { named });
  assert.ok(!nul.variables.has('SEEN'));
});

test('isSameSecrets() and isSameBinding() tell a value from a binding', async () => {
  const A = custom('A');
  const first = await compose([[A, VALUE], [service('openai'), VALUE]]); // prettier-ignore
  const same = await compose([[A, VALUE], [service('openai'), VALUE]]); // prettier-ignore
  const rotated = await compose([[A, `${VALUE}2`], [service('openai'), VALUE]]); // prettier-ignore
  const key = await compose([[A, VALUE], [service('openai'), `${VALUE}2`]]); // prettier-ignore
  const bound = await compose([[custom('A', { hosts: ['b.example'] }), VALUE], [service('openai'), VALUE]]); // prettier-ignore
  assert.deepEqual([isSameSecrets(first, same), isSameBinding(first, same)], [true, true]);
  for (const other of [rotated, key]) {
    assert.deepEqual([isSameSecrets(first, other), isSameBinding(first, other)], [false, true]);
  }
  assert.deepEqual([isSameSecrets(first, bound), isSameBinding(first, bound)], [false, false]);
});
