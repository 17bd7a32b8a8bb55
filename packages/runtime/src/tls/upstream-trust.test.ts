import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, createServer, rootCertificates } from 'node:tls';

import { SallyportError } from '@sallyport/sdk';

import { CertificateAuthority } from './certificate-authority.ts';
import { explainAlert, explainTlsError } from './tls-error.ts';
import { decodeCertificates, loadUpstreamTrust } from './upstream-trust.ts';

let directory: string;
let authority: CertificateAuthority;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-trust-'));
  authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Upstream CA' });
});
after(() => rmSync(directory, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

test('loadUpstreamTrust() takes the first bundle that has certificates, or those of Node', async () => {
  const empty = file('empty.pem', '');
  const bundle = file('bundle.pem', rootCertificates.slice(0, 2).join('\n'));
  const system = await loadUpstreamTrust({ extraCaFiles: [], systemBundles: ['/nonexistent', empty, bundle] });
  assert.equal(system.source, bundle);
  assert.equal(decodeCertificates(system.pem).length, 2);
  const node = await loadUpstreamTrust({ extraCaFiles: [], systemBundles: [] });
  assert.equal(node.source, 'node');
  assert.equal(decodeCertificates(node.systemPem).length, rootCertificates.length);
  assert.equal(node.context(), node.context());
});

test('loadUpstreamTrust() refuses CA files that bring nothing', async () => {
  const cases = [
    join(directory, 'missing.pem'),
    directory,
    file('text.pem', 'not a certificate'),
    file('key.pem', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'),
    file('half.pem', authority.certificatePem.slice(0, 300)),
    file('damaged.pem', authority.certificatePem.replace('MII', 'AAA')),
    file('second.pem', `${authority.certificatePem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`),
    'nul\0.pem',
  ];
  for (const path of cases) {
    await assert.rejects(
      loadUpstreamTrust({ extraCaFiles: [path], systemBundles: [] }),
      (error) =>
        error instanceof SallyportError &&
        error.code === 'UNREADABLE_FILE' &&
        error.message.includes(JSON.stringify(path)),
      path,
    );
  }
});

test("loadUpstreamTrust() makes the operator's authority trusted, and the environment does not", async (t) => {
  const bundle = file('roots.pem', rootCertificates.slice(0, 1).join('\n'));
  const extra = file('extra.pem', `# ours\n${authority.certificatePem.trimEnd()}`);
  const leaf = await authority.issueLeaf('api.example.com');
  const server = createServer({ key: leaf.keyPem, cert: leaf.certPem }, (socket) => socket.end()).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const environment = { ...process.env };
  process.env['NODE_EXTRA_CA_CERTS'] = extra;
  process.env['SSL_CERT_FILE'] = extra;
  t.after(() => {
    server.close();
    process.env = environment;
  });

  async function visit(extraCaFiles: string[], servername: string): Promise<string> {
    const trust = await loadUpstreamTrust({ extraCaFiles, systemBundles: [bundle] });
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername,
      secureContext: trust.context(),
      rejectUnauthorized: true,
    });
    try {
      await once(socket, 'secureConnect');
      return 'trusted';
    } catch (error) {
      return (error as { code: string }).code;
    } finally {
      socket.destroy();
    }
  }

  assert.equal(await visit([extra], 'api.example.com'), 'trusted');
  assert.equal(await visit([extra], 'b.example.com'), 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.equal(await visit([], 'api.example.com'), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
});

test('explainTlsError() shows nothing that the peer wrote', () => {
  assert.match(explainTlsError({ code: 'CERT_HAS_EXPIRED', message: 'peer text' }), /expired/);
  assert.match(explainTlsError({ code: 'SELF_SIGNED_CERT_IN_CHAIN' }), /--upstream-ca/);
  const odd = explainTlsError({ code: `ERR_\r\nX: <b>${'y'.repeat(500)}`, message: 'peer text' });
  assert.ok(odd.length < 200 && !/[\r\n<>]/.test(odd) && !odd.includes('peer text'), odd);
  for (const error of [null, undefined, 1, 'text', new Error('peer text'), { code: 7 }]) {
    assert.ok(!explainTlsError(error).includes('text'));
  }
});

test('explainAlert() tells a rejected client certificate from one that is missing', () => {
  const cases: [code: string, without: RegExp | null, presented: RegExp | null][] = [
    [
      'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
      /wants a client certificate; give .*--client-cert/,
      /did not accept .*--client-cert h\.example \(it got none/,
    ],
    [
      'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE',
      /refused the handshake; if it wants a client certificate/,
      /did not accept/,
    ],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', /--client-cert/, /did not accept/],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', /alert unknown_ca\); if it wants/, /\(unknown authority/],
    ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', /bad_certificate/, /\(bad certificate\)/],
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', /certificate_expired/, /\(certificate expired\)/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', /refuses TLS 1\.2 and 1\.3/, /refuses TLS 1\.2 and 1\.3/],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', /does not serve this host name/, /does not serve/],
    ['ERR_SSL_TLSV1_ALERT_USER_CANCELLED', /alert user_cancelled/, /alert user_cancelled/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', null, null],
    ['ECONNRESET', null, null],
    [`ERR_SSL_TLSV1_ALERT_${'A'.repeat(500)}`, null, null],
    ['ERR_SSL_TLSV1_ALERT_<b>', null, null],
  ];
  for (const [code, without, presented] of cases) {
    for (const [expected, origin] of [
      [without, null],
      [presented, '--client-cert h.example'],
    ] as const) {
      const text = explainAlert({ code, message: 'peer text' }, origin);
      if (expected === null) assert.equal(text, null, code);
      else assert.match(text ?? '', expected, code);
    }
  }
  assert.match(
    explainTlsError({ code: 'ECONNRESET' }, '--client-cert h.example'),
    /may not accept the client certificate/,
  );
  assert.equal(explainAlert(null, null), null);
});

test('decodeCertificates() skips what is between certificates and never loops', () => {
  const pem = `x\n${authority.certificatePem}# comment\n${authority.certificatePem}-----BEGIN CERTIFICATE-----\ncut`;
  assert.deepEqual(decodeCertificates(pem), [authority.certificateDer, authority.certificateDer]);
  assert.deepEqual(decodeCertificates(''), []);
});
