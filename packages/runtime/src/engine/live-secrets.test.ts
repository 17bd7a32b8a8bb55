import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredSecret } from '../secrets/stored-secret.ts';
import { LiveSecrets } from './live-secrets.ts';
import { fetchedKey, type SandboxSecrets } from './sandbox-secrets.ts';
import { SecretSources } from './secret-sources.ts';

const SECRET: StoredSecret = {
  scope: { kind: 'global' },
  kind: 'custom',
  name: 'TOKEN',
  env: 'TOKEN',
  hosts: ['api.example.com'],
  locations: ['header'],
  placeholder: null,
  methods: [],
  path: null,
  onViolation: 'pass',
  source: { kind: 'reference', reference: 'env:FETCHED_TOKEN' },
  refreshMs: null,
  createdAt: 1,
  updatedAt: 1,
};
const AUTHORITY = { scheme: 'https', host: 'api.example.com', port: 443 } as const;

test('LiveSecrets keeps a value that is being put into force, whenever a change of what is stored comes in between', async () => {
  for (let step = 0; step < 60; step += 1) {
    const inForce: SandboxSecrets[] = [];
    const input = {
      sandbox: 'one',
      own: [],
      given: new Map(),
      named: [],
      plain: new Map(),
      placeholderKey: Buffer.alloc(32),
      placeholders: new Map(),
    };
    const sources = new SecretSources({ FETCHED_TOKEN: 'fetched-value-1' });
    const takeIn = async (fetched?: ReadonlyMap<string, string>): Promise<void> =>
      await live.inTurn(async () => {
        const secrets = await live.compose(input, fetched);
        inForce.push(secrets);
        live.use(secrets);
      });
    const live: LiveSecrets = new LiveSecrets({
      sources,
      stored: () => ({ list: () => [SECRET], value: async () => await Promise.reject(new TypeError('not stored')) }),
      enforce: takeIn,
    });
    // oxlint-disable-next-line no-await-in-loop -- one order of events after the other
    await takeIn();
    const provider = live.providerFor(inForce[0]!);
    const prepared = provider?.prepare(AUTHORITY);
    // oxlint-disable-next-line no-await-in-loop
    for (let waited = 0; waited < step; waited += 1) await Promise.resolve();
    // oxlint-disable-next-line no-await-in-loop
    const [problem] = await Promise.all([prepared, takeIn()]);
    assert.equal(problem, null);
    const [token] = inForce.at(-1)?.set.secrets ?? [];
    assert.equal(
      token?.value.isKnown === true && token.value.reveal(),
      'fetched-value-1',
      `a change after ${step} steps`,
    );
    assert.equal(provider?.prepare(AUTHORITY), null, fetchedKey(SECRET));
    sources.close();
  }
});
