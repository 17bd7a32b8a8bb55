import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseResolve, readSecretHosts } from '../secrets/secret-spec.ts';
import { createSecretSet } from '../secrets/secret-set.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import { UpstreamTrust } from '../tls/upstream-trust.ts';
import { defaultGateThreads, GateThreads, parseGateThreads } from './gate-threads.ts';
import type { SandboxGateOptions, SandboxGateRules } from './sandbox-gate.ts';
import { compilePolicy } from './sandbox-parts.ts';

const HOST = 'api.example.com';

function rulesFor(value: SecretValue, allow: readonly string[] = []): SandboxGateRules {
  const secrets = createSecretSet({
    inputs: [{ env: 'TOKEN', value, hosts: readSecretHosts([HOST], 'TOKEN') }],
    locations: [{ kind: 'header' }],
    plainNames: [],
    placeholderFor: (env) => `sp_${env}_0123456789abcdefghijkl`,
  });
  const pins = [parseResolve(`${HOST}:443:127.0.0.1:1`)];
  const network = { allow, deny: [], tunnel: [], pins, upstreamCaFiles: [], clientCertificates: [] };
  const sources = { secrets, network };
  return { policy: compilePolicy(sources), secrets, closed: null, provider: null, sources };
}

async function optionsIn(directory: string, more: Partial<SandboxGateOptions> = {}): Promise<SandboxGateOptions> {
  return {
    name: 'box',
    rules: rulesFor(new SecretValue('first-canary-4711')),
    earlierValues: [],
    authority: await CertificateAuthority.create({ openssl: 'openssl', commonName: 'test' }),
    trust: new UpstreamTrust({ source: 'test', systemPem: '', extraPem: '' }),
    clientCertificates: [],
    names: [HOST],
    auditFile: join(directory, 'audit.jsonl'),
    stateDirectory: directory,
    ends: { doors: [] },
    onName: () => undefined,
    onAuditFailure: () => undefined,
    onTerminate: () => undefined,
    onLost: () => undefined,
    ...more,
  };
}

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-gates-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test('defaultGateThreads() leaves few processors alone, and parseGateThreads() takes numbers only', () => {
  assert.deepEqual([1, 2, 3, 4, 16].map(defaultGateThreads), [0, 0, 2, 3, 8]);
  assert.deepEqual(
    ['0', '2', '64'].map((text) => parseGateThreads(text, '--workers')),
    [0, 2, 64],
  );
  for (const text of ['', '65', '-1', '1.5', 'many', '1e1', ' 2']) {
    assert.throws(() => parseGateThreads(text, '--workers'), { code: 'USAGE', message: /^--workers takes a number/ });
  }
});

test('GateThreads shares out gates, and tells those of a thread that has ended, whose audit log another takes up', async () => {
  await inDirectory(async (directory) => {
    const losses: number[] = [];
    const gates = new GateThreads({ limit: 2, isEager: true, onLoss: (count) => losses.push(count) });
    const lost: string[] = [];
    const open = async (name: string, endedThread?: number) =>
      await gates.open(
        await optionsIn(directory, {
          name,
          auditFile: join(directory, `${name}.jsonl`),
          onLost: () => lost.push(name),
          endedThread,
        }),
        false,
      );
    const [first, second, third] = [await open('first'), await open('second'), await open('third')];
    assert.notEqual(first.thread, second.thread);
    assert.deepEqual(new Set(gates.threads.map(({ size }) => size)), new Set([1, 2]));
    assert.deepEqual(await first.traffic(), { connections: 0, names: 1 });
    await first.reconfigure(rulesFor(new SecretValue('second-canary-0815'), ['other.example.com']));
    first.replaceSecrets(rulesFor(SecretValue.UNKNOWN).secrets);

    await gates.threads.find(({ id }) => id === first.thread)?.end();
    assert.deepEqual(lost, third.thread === first.thread ? ['first', 'third'] : ['first']);
    assert.deepEqual(losses, [lost.length]);
    // Nothing is left to be closed, and nothing gets out.
    await first.reconfigure(rulesFor(new SecretValue('third-canary-2342')));
    await first.close();
    await first.end();
    assert.deepEqual(await first.traffic(), { connections: 0, names: 0 });
    await assert.rejects(open('first'), { code: 'AUDIT_REFUSED' }, 'nobody has said that its writer has ended');
    await assert.rejects(open('second', first.thread), { code: 'AUDIT_REFUSED' }, 'its writer lives');
    const again = await open('first', first.thread);
    assert.notEqual(again.thread, first.thread);
    for (const gate of [again, second, third]) await gate.end();
    await gates.close();
    assert.equal(losses.length, 1, 'an end that was asked for is no loss');
  });
});

test('GateThreads without threads keeps gates in the thread of its caller', async () => {
  await inDirectory(async (directory) => {
    const gates = new GateThreads({ limit: 0, onLoss: () => assert.fail() });
    const gate = await gates.open(await optionsIn(directory), true);
    assert.equal(gate.thread, 0);
    assert.equal(gates.threads.length, 0);
    await gate.end();
    await gates.close();
  });
});
