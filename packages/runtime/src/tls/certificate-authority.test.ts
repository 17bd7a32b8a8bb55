import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { before, test } from 'node:test';

import { CertificateAuthority, LEAF_LIFE_MS } from './certificate-authority.ts';

let authority: CertificateAuthority;
/** Certificates know whole seconds. */
const NOW = Math.floor(Date.now() / 1000) * 1000;
const DAY_MS = 86_400_000;

before(async () => {
  authority = await CertificateAuthority.create({
    openssl: 'openssl',
    commonName: 'Sallyport  Test CA',
    now: () => NOW,
  });
});

const LONG = `${'a'.repeat(60)}.${'b'.repeat(60)}.example.com`;

test('CertificateAuthority.create() makes an authority that signs leaves only', () => {
  const certificate = new X509Certificate(authority.certificatePem);
  assert.equal(certificate.ca, true);
  assert.equal(certificate.subject, 'O=Sallyport\nCN=Sallyport  Test CA');
  assert.equal(certificate.issuer, certificate.subject);
  assert.ok(certificate.verify(certificate.publicKey));
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.deepEqual(certificate.validToDate.getTime() - certificate.validFromDate.getTime(), 3650 * DAY_MS);
  assert.ok(Math.abs(certificate.validFromDate.getTime() - Date.now()) < DAY_MS);
  assert.deepEqual(certificate.raw, authority.certificateDer);
  assert.ok(!JSON.stringify(authority).includes('PRIVATE'));
});

test('CertificateAuthority.create() puts any name into the certificate as it is, up to 64 characters', async () => {
  for (const commonName of ['run-0123', 'a/CN=b+O=c,d=e\\f', '/', '+', 'é "ü"\n$HOME', `-x${'y'.repeat(62)}`]) {
    const made = await CertificateAuthority.create({ openssl: 'openssl', commonName });
    const { subject } = new X509Certificate(made.certificatePem).toLegacyObject();
    assert.deepEqual({ ...subject }, { O: 'Sallyport', CN: commonName });
    const leaf = new X509Certificate((await made.issueLeaf('a.example')).certPem);
    assert.ok(leaf.checkIssued(new X509Certificate(made.certificatePem)), commonName);
    made.close();
    await assert.rejects(made.issueLeaf('b.example'), { code: 'INTERNAL' });
  }
  const long = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'y'.repeat(65) });
  assert.match(new X509Certificate(long.certificatePem).subject, /CN=y{64}$/);
});

test('CertificateAuthority.create() says what is wrong with the command', async () => {
  for (const [openssl, reason] of [
    ['/nonexistent/openssl', /ENOENT/],
    ['/bin/false', /"1"/],
    ['/bin/true', /not understood/],
    ['/bin/ls', /unrecognized option|invalid option/],
  ] as const) {
    const message = new RegExp(`^The command "openssl" made no .*(?:${reason.source}).* 3\\.0 or newer is needed\\.$`);
    await assert.rejects(CertificateAuthority.create({ openssl, commonName: 'x' }), { code: 'INTERNAL', message });
  }
});

test('issueLeaf() names the host', async () => {
  const root = new X509Certificate(authority.certificatePem);
  for (const [host, names, subject] of [
    ['api.example.com', 'DNS:api.example.com', 'CN=api.example.com'],
    ['xn--bcher-kva.example', 'DNS:xn--bcher-kva.example', 'CN=xn--bcher-kva.example'],
    [LONG, `DNS:${LONG}`, 'O=Sallyport'],
    ['192.0.2.7', 'IP Address:192.0.2.7', 'CN=192.0.2.7'],
    ['2001:db8::1', 'IP Address:2001:DB8:0:0:0:0:0:1', 'CN=2001:db8::1'],
  ] as const) {
    const leaf = await authority.issueLeaf(host);
    const certificate = new X509Certificate(leaf.certPem);
    assert.equal(certificate.subjectAltName, names);
    assert.equal(certificate.subject, subject);
    assert.equal(certificate.ca, false);
    assert.ok(certificate.checkIssued(root) && certificate.verify(root.publicKey));
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.equal(certificate.validToDate.getTime(), NOW + LEAF_LIFE_MS);
    assert.equal(leaf.notAfterMs, NOW + LEAF_LIFE_MS);
    const checked =
      host.includes(':') || /^[0-9.]+$/.test(host) ? certificate.checkIP(host) : certificate.checkHost(host);
    assert.ok(checked !== undefined, host);
  }
});

test('issueLeaf() draws serial numbers that are positive, long and different', async () => {
  const serials = new Set<string>();
  for (let index = 0; index < 64; index += 1) {
    serials.add(new X509Certificate((await authority.issueLeaf('a.example')).certPem).serialNumber);
  }
  assert.equal(serials.size, 64);
  for (const serial of serials) {
    assert.match(serial, /^[4-7][0-9A-F]{31}$/);
  }
});

test('OpenSSL accepts the leaves in its strict mode', async (t) => {
  if (spawnSync('openssl', ['version']).status !== 0) {
    t.skip('openssl is not installed');
    return;
  }
  const fresh = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Sallyport  Test CA' });
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-ca-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'ca.pem');
  writeFileSync(file, fresh.certificatePem);
  for (const [host, option] of [
    ['api.example.com', '-verify_hostname'],
    [LONG, '-verify_hostname'],
    ['2001:db8::1', '-verify_ip'],
  ] as const) {
    const { certPem } = await fresh.issueLeaf(host);
    const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-no-CApath', '-CAfile', file, option, host];
    const result = spawnSync('openssl', args, { input: certPem, encoding: 'utf8' });
    assert.equal(result.stdout, 'stdin: OK\n', result.stderr);
    const wrong = spawnSync('openssl', [...args.slice(0, -1), host === '2001:db8::1' ? '::2' : 'b.example'], {
      input: certPem,
    });
    assert.notEqual(wrong.status, 0);
  }
});

test('an authority keeps the process alive while an answer is due, and no longer', () => {
  const module = pathToFileURL(join(import.meta.dirname, 'certificate-authority.ts'));
  const program = `
    import { CertificateAuthority } from ${JSON.stringify(module.href)};
    const authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Test CA' });
    const leaf = await authority.issueLeaf('a.example');
    authority.close();
    const refused = await authority.issueLeaf('b.example').catch((error) => error.code);
    console.log(leaf.certPem.split('\\n', 1)[0], refused);`;
  const args = ['--conditions=sallyport-source', '--input-type=module', '-e', program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  assert.deepEqual([status, stdout, stderr], [0, '-----BEGIN CERTIFICATE----- INTERNAL\n', '']);
});

test('CertificateAuthority.restore() signs on under the certificate that clients trust', async () => {
  const first = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'a sandbox' });
  const saved = first.save();
  first.close();
  assert.throws(() => first.save(), { code: 'INTERNAL' });
  const second = CertificateAuthority.restore(JSON.parse(JSON.stringify(saved)) as typeof saved);
  assert.equal(second.certificatePem, first.certificatePem);
  const leaf = new X509Certificate((await second.issueLeaf('api.example.com')).certPem);
  assert.ok(leaf.verify(new X509Certificate(first.certificatePem).publicKey));
  const other = (await CertificateAuthority.create({ openssl: 'openssl', commonName: 'another' })).save();
  for (const keyPem of ['damaged', other.keyPem]) {
    assert.throws(() => CertificateAuthority.restore({ ...saved, keyPem }), { code: 'INTERNAL' });
  }
});
