import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import { createAuthority, type Identity, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { loadClientCertificate } from './client-certificate.ts';
import { parseClientCertificate, refuseTwoCertificates } from './client-certificate-spec.ts';

let directory: string;
let authority: TestAuthority;
let identity: Identity;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-client-'));
  authority = await createAuthority();
  identity = await authority.issueClient('alice');
});
after(() => rmSync(directory, { recursive: true }));

let files = 0;
function file(content: string | Buffer): string {
  const path = join(directory, `${(files += 1)}.pem`);
  writeFileSync(path, content);
  return path;
}

test('parseClientCertificate() takes one host and its files', () => {
  const cases: [text: string, host: string, port: number, certificate: string, key: string][] = [
    ['api.example.com=c.pem,k.pem', 'api.example.com', 443, '/work/c.pem', '/work/k.pem'],
    ['API.Example.com.=both.pem', 'api.example.com', 443, '/work/both.pem', '/work/both.pem'],
    ['b\u00fccher.example:8443=/a/c=1.pem,../k.pem', 'xn--bcher-kva.example', 8443, '/a/c=1.pem', '/k.pem'],
    ['192.0.2.1=c.pem', '192.0.2.1', 443, '/work/c.pem', '/work/c.pem'],
    ['[2001:DB8::1]:8443=c.pem', '2001:db8::1', 8443, '/work/c.pem', '/work/c.pem'],
  ];
  for (const [text, host, port, certificateFile, keyFile] of cases) {
    const { origin, ...spec } = parseClientCertificate(text, '/work');
    assert.deepEqual(spec, { host, port, certificateFile, keyFile }, text);
    assert.match(origin, /^--client-cert [^=]+$/);
  }
});

test('parseClientCertificate() refuses what names no one host or no file', () => {
  const cases: [text: string, code: string, says: RegExp][] = [
    ['', 'INVALID_CLIENT_CERTIFICATE', /no "="/],
    ['api.example.com', 'INVALID_CLIENT_CERTIFICATE', /no "=".*HOST=CERT_FILE,KEY_FILE/],
    ['=c.pem', 'INVALID_HOST_PATTERN', /it is empty/],
    ['*.example.com=c.pem', 'INVALID_HOST_PATTERN', /one host, not to a pattern/],
    ['**.example.com=c.pem', 'INVALID_HOST_PATTERN', /one host/],
    ['**=c.pem', 'INVALID_HOST_PATTERN', /./],
    ['10.0.0.0/8=c.pem', 'INVALID_HOST_PATTERN', /./],
    ['https://api.example.com=c.pem', 'INVALID_HOST_PATTERN', /URL/],
    ['api.example.com:80=c.pem', 'INVALID_HOST_PATTERN', /port 80 is cleartext/],
    ['api.example.com:0=c.pem', 'INVALID_HOST_PATTERN', /port/],
    ['api.example.com=', 'INVALID_CLIENT_CERTIFICATE', /a file name is empty/],
    ['api.example.com=c.pem,', 'INVALID_CLIENT_CERTIFICATE', /a file name is empty/],
    ['api.example.com=,k.pem', 'INVALID_CLIENT_CERTIFICATE', /a file name is empty/],
    ['api.example.com=c.pem,k.pem,x', 'INVALID_CLIENT_CERTIFICATE', /more than two files/],
  ];
  for (const [text, code, says] of cases) {
    assert.throws(
      () => parseClientCertificate(text, '/work'),
      (error) => error instanceof SallyportError && error.code === code && says.test(error.message),
      text,
    );
  }
  const spec = parseClientCertificate('api.example.com=c.pem', '/');
  assert.throws(() => refuseTwoCertificates([spec, parseClientCertificate('API.example.com:443=d.pem', '/')]), /twice/);
  refuseTwoCertificates([spec, parseClientCertificate('api.example.com:8443=c.pem', '/')]);
});

test('loadClientCertificate() takes keys of the usual kinds and forms, with their certificate', async () => {
  const key = createPrivateKey(identity.key);
  const sec1 = key.export({ type: 'sec1', format: 'pem' });
  const chain = await authority.issueClient('bob', 'intermediate');
  const pairs: [certificate: string, key?: string][] = [
    [file(identity.cert), file(identity.key)],
    [file(identity.cert), file(sec1)],
    [file(identity.cert + identity.key)],
    [file(`Bag Attributes\n${identity.key}# comment\n${identity.cert.replaceAll('\n', '\r\n')}`)],
    [file(chain.cert), file(chain.key)],
  ];
  for (const [certificateFile, keyFile = certificateFile] of pairs) {
    const spec = parseClientCertificate(`api.example.com=${certificateFile},${keyFile}`, '/');
    const certificate = await loadClientCertificate(spec, Date.now());
    assert.equal(certificate.host, 'api.example.com');
    assert.equal(certificate.context(authority.certificatePem), certificate.context(authority.certificatePem));
  }
});

test('loadClientCertificate() says what is wrong, and never shows a key', async () => {
  const key = createPrivateKey(identity.key);
  const encrypted = key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' });
  const traditional = `-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n`;
  const other = await authority.issueClient('other');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const rsa = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const expired = await authority.issueClient('late', 'expired');
  const early = await authority.issueClient('early', 'not-yet-valid');
  const damaged = identity.key.replace(/\n[A-Za-z0-9+/]{8}/, '\nAAAAAAAA');
  const cases: [certificate: string, key: string, code: string, says: RegExp][] = [
    [join(directory, 'missing.pem'), file(identity.key), 'UNREADABLE_FILE', /missing\.pem" cannot be read \(ENOENT\)/],
    [file(identity.cert), directory, 'UNREADABLE_FILE', /EISDIR/],
    [file(identity.cert), 'nul\0', 'UNREADABLE_FILE', /cannot be read/],
    [file(''), file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /holds no certificate in PEM.*openssl pkcs12/],
    [file(new X509Certificate(identity.cert).raw), file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /no certificate in PEM/],
    [file(identity.cert.replace('MII', 'AAA')), file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /certificate 1 of 1 .* damaged/],
    [file(identity.cert), file(identity.cert), 'INVALID_CLIENT_CERTIFICATE', /no private key in PEM/],
    [file(identity.cert), file(encrypted), 'INVALID_CLIENT_CERTIFICATE', /is encrypted; give an unencrypted copy/],
    [file(identity.cert), file(traditional), 'INVALID_CLIENT_CERTIFICATE', /is encrypted/],
    [file(identity.cert), file(damaged), 'INVALID_CLIENT_CERTIFICATE', /is damaged, or of a kind that is not known/],
    [file(identity.cert), file(other.key), 'INVALID_CLIENT_CERTIFICATE', /does not belong to the certificate/],
    [file(identity.cert), file(rsa), 'INVALID_CLIENT_CERTIFICATE', /does not belong/],
    [file(other.cert + identity.cert), file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /later certificate of .* put that one first/],
    [file(expired.cert), file(expired.key), 'INVALID_CLIENT_CERTIFICATE', /expired at 20\d\d-\d\d-\d\dT.*get a new one/],
    [file(early.cert), file(early.key), 'INVALID_CLIENT_CERTIFICATE', /valid only from .* clock/],
    [file(Buffer.alloc(2 * 1024 * 1024, 'x')), file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /more than 1048576 bytes/],
    ['/dev/zero', file(identity.key), 'INVALID_CLIENT_CERTIFICATE', /more than/],
  ]; // prettier-ignore
  for (const [certificateFile, keyFile, code, says] of cases) {
    const spec = { host: 'h.example', port: 443, origin: '--client-cert h.example', certificateFile, keyFile };
    await assert.rejects(loadClientCertificate(spec, Date.now()), (error) => {
      assert.ok(error instanceof SallyportError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, says);
      assert.match(error.message, /^--client-cert h\.example: /);
      assert.equal(error.cause, undefined);
      return true;
    });
  }
});
