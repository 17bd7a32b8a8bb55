import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { ScannedBody } from './scanned-body.ts';

test('ScannedBody.resume() asks to wait while the decoder is full, however fast the upstream is', async () => {
  const drained = Promise.withResolvers<void>();
  let ended = false;
  const scan = new BodySubstituter([]).stream({ kind: 'opaque' }, []);
  const body = new ScannedBody(scan, ['gzip'], null, {
    ready: () => undefined,
    write: () => false,
    end: () => (ended = true),
    refuse: (problem) => assert.fail(problem.detail),
    drain: () => drained.resolve(),
  });
  assert.equal(body.push(gzipSync(randomBytes(1024 * 1024))), false);
  assert.equal(body.resume(), false, 'the upstream takes more, the decoder does not');
  await drained.promise;
  assert.equal(body.resume(), true);
  body.dispose();
  assert.equal(ended, false);
});
