import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';

import { JAVA_TRUST_STORE_PASSWORD, encodeJks } from './java-trust-store.ts';
import { decodeCertificates } from './upstream-trust.ts';

const CERTIFICATES = decodeCertificates(rootCertificates.join('\n'));

test('encodeJks() writes the format that the digest at its end seals', () => {
  const store = encodeJks([Buffer.from('certificate')], new Date(1_000));
  assert.equal(
    store.toString('hex'),
    'feedfeed000000020000000100000002000b73616c6c79706f72742d3000000000000003e80005582e3530390000000b6365727469666963617465' +
      // SHA-1 of the password in UTF-16, "Mighty Aphrodite" and the above; computed with another implementation.
      '58e92b9c54eeb5779c2e65c9d8cec90c7e38d36e',
  );
  assert.equal(encodeJks([], new Date(0)).length, 32);
});

test('encodeJks() is read by keytool', (t) => {
  if (spawnSync('keytool', ['-help']).error !== undefined) {
    t.skip('no JDK is installed');
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-jks-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'trust.jks');
  writeFileSync(path, encodeJks(CERTIFICATES, new Date()));
  const result = spawnSync('keytool', ['-list', '-keystore', path, '-storepass', JAVA_TRUST_STORE_PASSWORD], {
    encoding: 'utf8',
  });
  assert.equal(result.status, 0, result.stdout + result.stderr);
  assert.equal(result.stdout.match(/trustedCertEntry/g)?.length, CERTIFICATES.length);
});
