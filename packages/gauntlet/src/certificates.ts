import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** A private key and its certificate, both PEM. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
}

/** The certificate authority of the controller's upstreams. */
export interface Authority {
  /** The root, PEM: what the gate is to trust. */
  readonly certificatePem: string;
  /** Issues a server certificate for DNS names. */
  readonly issue: (names: readonly string[]) => Promise<Identity>;
}

const DAY_MS = 86_400_000;
const VALID_DAYS = 20;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

async function createKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
}

function validity(): { serialNumber: string; notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return {
    serialNumber: `01${randomBytes(15).toString('hex')}`,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + VALID_DAYS * DAY_MS),
  };
}

/** Makes a root whose key stays in memory. */
export async function createAuthority(): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await createKeys();
  const keyIdentifier = await x509.SubjectKeyIdentifierExtension.create(keys.publicKey);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(),
    name: 'CN=Gauntlet test root',
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      keyIdentifier,
    ],
  });
  const issue = async (names: readonly string[]): Promise<Identity> => {
    const leafKeys = await createKeys();
    const leaf = await x509.X509CertificateGenerator.create({
      ...validity(),
      subject: 'CN=gauntlet upstream',
      issuer: root.subject,
      publicKey: leafKeys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns' as const, value }))),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { key: await exportKey(leafKeys.privateKey), cert: `${leaf.toString('pem')}\n` };
  };
  return { certificatePem: `${root.toString('pem')}\n`, issue };
}
