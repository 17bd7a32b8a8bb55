import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createScene, findPresentCaller } from './harness/caller.ts';
import { describeRun, sallyport } from './harness/sallyport.ts';
import { findProgram } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';

const HOST = 'front.test.example';
const go = findProgram('go', `${process.env['PATH']}:/usr/local/go/bin`);
const source = fileURLToPath(new URL('clients/ech.go', import.meta.url));

test(
  'a client that hides another name in an encrypted ClientHello reaches the visible one, or nothing',
  { skip: go === undefined ? 'no Go toolchain (apt-get install golang)' : false, timeout: 120_000 },
  async () => {
    using scene = createScene(findPresentCaller());
    const env = { ...process.env, GOFLAGS: '', GO111MODULE: 'off', CGO_ENABLED: '0' };
    const program = join(scene.assets, 'ech');
    execFileSync(go!, ['build', '-o', program, source], { env, cwd: scene.assets });
    chmodSync(program, 0o755);
    await using upstream = await startUpstream({ names: [HOST] });
    const visit = async (flags: readonly string[], visible = HOST) => {
      const result = await sallyport(
        [
          ...['run', ...upstream.flags(), ...flags, '-v', `${scene.assets}:/assets:ro`, '--'],
          ...['/assets/ech', `${HOST}:443`, visible, 'hidden.test.example'],
        ],
        { scene, timeoutMs: 30_000, audit: true },
      );
      assert.equal(result.status, 0, describeRun(result));
      return { said: result.stdout.trim(), codes: result.audit.map((event) => event['code']) };
    };

    // The gate is a server without the key: it proves to be the visible host, and the client leaves.
    const rejected = `rejected by a server that proved to be ${HOST}`;
    assert.equal((await visit(['--secret', `TOKEN=canary-value-4711@${HOST}`])).said, rejected);
    // A sandbox without a secret passes TLS through, but not this.
    assert.equal((await visit(['--allow', HOST])).said, rejected);
    const tunnelled = await visit(['--tunnel', HOST]);
    assert.equal(tunnelled.said, rejected);
    assert.ok(tunnelled.codes.includes('ECH_REFUSED'), String(tunnelled.codes));
    const other = await visit(['--allow', HOST], 'elsewhere.test.example');
    assert.ok(other.codes.includes('ECH_REFUSED'), other.said);
    assert.deepEqual(upstream.requests, []);
  },
);
