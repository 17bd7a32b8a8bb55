// Our certificates against two readers that are not ours: @peculiar/x509, which made them once, and OpenSSL.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import * as peculiar from '@peculiar/x509';
import fc from 'fast-check';
import { formatAddress } from '../policy/ip-address.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import {
  authorityKeyIdentifier, basicConstraints, encodeName, keyUsage, serverAuthentication, signCertificate, subjectAlternativeName,
  subjectKeyIdentifier,
} from './certificate.ts'; // prettier-ignore

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const leafKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function importPublic(key: typeof keys.publicKey): Promise<webcrypto.CryptoKey> {
  const spki = key.export({ type: 'spki', format: 'der' });
  return await webcrypto.subtle.importKey('spki', new Uint8Array(spki), ALGORITHM, true, ['verify']);
}

async function importPrivate(key: typeof keys.privateKey): Promise<webcrypto.CryptoKey> {
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  return await webcrypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), ALGORITHM, true, ['sign']);
}

/** The part of a certificate that is signed: everything but the signature, which is random. */
function toBeSigned(der: Uint8Array): string {
  const header = (offset: number): { start: number; length: number } => {
    const first = der[offset + 1] ?? 0;
    if (first < 0x80) return { start: offset + 2, length: first };
    const count = first & 0x7f;
    return { start: offset + 2 + count, length: Buffer.from(der).readUIntBE(offset + 2, count) };
  };
  const outer = header(0).start;
  const inner = header(outer);
  return Buffer.from(der.subarray(outer, inner.start + inner.length)).toString('hex');
}

const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
const dnsName = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.').slice(0, 253));
const address = fc
  .oneof(
    fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
    // Not below ::ffff:0:0/96, which is IPv4.
    fc.array(fc.nat(255), { minLength: 15, maxLength: 15 }).map((bytes) => [0xfd, ...bytes]),
  )
  .map(formatAddress);
const serial = fc.uint8Array({ minLength: 1, maxLength: 19 }).map((bytes) => Uint8Array.of(0x40, ...bytes));
const day = fc.integer({ min: Date.UTC(1970, 0, 1) / 1000, max: Date.UTC(2149, 11, 31) / 1000 }).map((s) => s * 1000);

test('signCertificate() writes, bit for bit, the leaf that @peculiar/x509 writes', async () => {
  const [publicKey, signingKey, leafKey] = await Promise.all([
    importPublic(keys.publicKey),
    importPrivate(keys.privateKey),
    importPublic(leafKeys.publicKey),
  ]);
  const host = fc.oneof(
    dnsName.map((name) => ({ name, isAddress: false })),
    address.map((name) => ({ name, isAddress: true })),
  );
  const property = fc.asyncProperty(
    host,
    fc.string({ unit: 'grapheme', maxLength: 64 }),
    serial,
    day,
    day,
    async ({ name, isAddress }, issuer, serialNumber, notBeforeMs, notAfterMs) => {
      const ours = signCertificate(
        {
          serialNumber,
          issuer: [
            ['O', 'Sallyport'],
            ['CN', issuer],
          ],
          subject: [['CN', name]],
          notBeforeMs,
          notAfterMs,
          publicKey: leafKeys.publicKey,
          extensions: [
            basicConstraints(null),
            keyUsage('digitalSignature'),
            serverAuthentication(),
            subjectAlternativeName(name, isAddress),
            subjectKeyIdentifier(leafKeys.publicKey),
            authorityKeyIdentifier(keys.publicKey),
          ],
        },
        keys.privateKey,
      );
      const theirs = await peculiar.X509CertificateGenerator.create({
        serialNumber: Buffer.from(serialNumber).toString('hex'),
        subject: new peculiar.Name([{ CN: [{ utf8String: name }] }]),
        issuer: new peculiar.Name([{ O: [{ utf8String: 'Sallyport' }] }, { CN: [{ utf8String: issuer }] }]),
        notBefore: new Date(notBeforeMs),
        notAfter: new Date(notAfterMs),
        signingAlgorithm: ALGORITHM,
        publicKey: leafKey,
        signingKey,
        extensions: [
          new peculiar.BasicConstraintsExtension(false, undefined, true),
          new peculiar.KeyUsagesExtension(peculiar.KeyUsageFlags.digitalSignature, true),
          new peculiar.ExtendedKeyUsageExtension([peculiar.ExtendedKeyUsage.serverAuth]),
          new peculiar.SubjectAlternativeNameExtension([{ type: isAddress ? 'ip' : 'dns', value: name }]),
          await peculiar.SubjectKeyIdentifierExtension.create(leafKey),
          await peculiar.AuthorityKeyIdentifierExtension.create(publicKey),
        ],
      });
      assert.equal(toBeSigned(ours), toBeSigned(new Uint8Array(theirs.rawData)));
      const certificate = new X509Certificate(ours);
      assert.ok(certificate.verify(keys.publicKey) && !certificate.verify(leafKeys.publicKey));
    },
  );
  await fc.assert(property, { numRuns: 200 });
});

test('the certificate of an authority is what @peculiar/x509 writes', async () => {
  const now = Date.UTC(2026, 10, 22);
  const der = CertificateAuthority.create({ commonName: 'A', now: () => now }).certificateDer;
  const read = new peculiar.X509Certificate(new Uint8Array(der));
  const theirs = await peculiar.X509CertificateGenerator.create({
    serialNumber: read.serialNumber,
    subject: new peculiar.Name([{ O: [{ utf8String: 'Sallyport' }] }, { CN: [{ utf8String: 'A' }] }]),
    issuer: new peculiar.Name([{ O: [{ utf8String: 'Sallyport' }] }, { CN: [{ utf8String: 'A' }] }]),
    notBefore: new Date(now - 86_400_000),
    notAfter: new Date(now + 3650 * 86_400_000),
    signingAlgorithm: ALGORITHM,
    publicKey: await read.publicKey.export(),
    signingKey: await importPrivate(keys.privateKey),
    extensions: [
      new peculiar.BasicConstraintsExtension(true, 0, true),
      new peculiar.KeyUsagesExtension(peculiar.KeyUsageFlags.keyCertSign | peculiar.KeyUsageFlags.cRLSign, true),
      await peculiar.SubjectKeyIdentifierExtension.create(await read.publicKey.export()),
    ],
  });
  assert.equal(toBeSigned(der), toBeSigned(new Uint8Array(theirs.rawData)));
});

test('subjectAlternativeName() refuses what is no host: another one would be certified', () => {
  for (const name of ['', 'a b', 'b\u00fccher.example', 'a\0.example', 'a\n.example']) {
    assert.throws(() => subjectAlternativeName(name, false), RangeError, JSON.stringify(name));
  }
  for (const name of ['', '1.2.3', '1.2.3.256', 'fe80::1%eth0', 'a.example']) {
    assert.throws(() => subjectAlternativeName(name, true), RangeError, JSON.stringify(name));
  }
});

test('encodeName() is UTF-8', () => {
  assert.equal(encodeName([['CN', 'é']]).toString('hex'), '300d310b300906035504030c02c3a9');
});
