import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** What is wrong with an upstream's certificate; `valid` is a leaf of the test's own authority for the names asked for. */
export type CertificateKind =
  | 'valid'
  | 'expired'
  | 'not-yet-valid'
  | 'self-signed'
  | 'wrong-name'
  | 'foreign-authority';

/** A private key and its certificate chain (leaf first), both PEM. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
}

/** A certificate authority of a test. */
export interface TestAuthority {
  /** Root certificate, PEM: what `--upstream-ca` takes. */
  readonly certificatePem: string;
  /** Issues a server certificate for DNS names and IP literals. */
  issue(names: readonly string[], kind?: CertificateKind): Promise<Identity>;
  /** Issues a client certificate; `intermediate` by way of an authority in between, which follows in the chain. */
  issueClient(commonName: string, kind?: 'valid' | 'expired' | 'not-yet-valid' | 'intermediate'): Promise<Identity>;
}

/** The certificate of an authority whose key was never kept, where nothing has to be issued. */
export const KEYLESS_AUTHORITY_PEM = `-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUXNZvQtMv6xbdcEQywpBNigz/Xe8wCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRU2FsbHlwb3J0IHRlc3QgQ0EwIBcNMjYxMTIyMTAxMzM2WhgP
MjEyNjEwMjkxMDEzMzZaMBwxGjAYBgNVBAMMEVNhbGx5cG9ydCB0ZXN0IENBMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEhUvqBww1xWHCJ9mfT8lEavW/+zB2Ncr1
0WafPg7AmrWYM92K7ZFUkJBG1h3KHzuByGPdoxYShUwnLWB1482ybaNTMFEwHQYD
VR0OBBYEFJoUKpenQFp/lXk3+FDfIto+TCJDMB8GA1UdIwQYMBaAFJoUKpenQFp/
lXk3+FDfIto+TCJDMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIg
C+ccjjXwEjrQn5Lgql8GbXN/I1LqeMXHJpQcZsmN0/4CIQD93Lu6MVXAoAaznLa/
l+AK734cuPb7XMF1Qdo6AVqBBA==
-----END CERTIFICATE-----
`;

const DAY_MS = 86_400_000;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

x509.cryptoProvider.set(webcrypto);

function isIpLiteral(name: string): boolean {
  return name.includes(':') || /^[0-9.]+$/.test(name);
}

async function createKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
}

function newSerial(): string {
  return `01${randomBytes(15).toString('hex')}`;
}

/** Makes a root with a key of its own; nothing is written to disk. */
export async function createAuthority(commonName = 'Sallyport end-to-end test root'): Promise<TestAuthority> {
  const keys = await createKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `CN=${commonName}`,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 30 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const certificatePem = `${root.toString('pem')}\n`;

  async function issue(names: readonly string[], kind: CertificateKind = 'valid'): Promise<Identity> {
    if (kind === 'foreign-authority') return (await createAuthority('A root nobody trusts')).issue(names);
    const leafKeys = await createKeys();
    const certifiedNames = kind === 'wrong-name' ? ['somebody-else.example'] : names;
    const from = kind === 'expired' ? -10 : kind === 'not-yet-valid' ? 5 : -1;
    const until = kind === 'expired' ? -2 : 20;
    const common = {
      serialNumber: newSerial(),
      notBefore: new Date(Date.now() + from * DAY_MS),
      notAfter: new Date(Date.now() + until * DAY_MS),
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          certifiedNames.map((name) => ({ type: isIpLiteral(name) ? ('ip' as const) : ('dns' as const), value: name })),
        ),
      ],
    };
    const leaf =
      kind === 'self-signed'
        ? await x509.X509CertificateGenerator.createSelfSigned({ ...common, name: 'CN=self-signed', keys: leafKeys })
        : await x509.X509CertificateGenerator.create({
            ...common,
            subject: 'CN=leaf',
            issuer: root.subject,
            publicKey: leafKeys.publicKey,
            signingKey: keys.privateKey,
          });
    return { key: await exportKey(leafKeys.privateKey), cert: `${leaf.toString('pem')}\n` };
  }

  async function issueClient(
    commonName: string,
    kind: 'valid' | 'expired' | 'not-yet-valid' | 'intermediate' = 'valid',
  ): Promise<Identity> {
    const [clientKeys, betweenKeys] = await Promise.all([createKeys(), createKeys()]);
    const between = await x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: 'CN=intermediate',
      issuer: root.subject,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + 20 * DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: betweenKeys.publicKey,
      signingKey: keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    });
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: `CN=${commonName}`,
      issuer: kind === 'intermediate' ? between.subject : root.subject,
      notBefore: new Date(Date.now() + (kind === 'not-yet-valid' ? 5 : -10) * DAY_MS),
      notAfter: new Date(Date.now() + (kind === 'expired' ? -2 : 20) * DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: clientKeys.publicKey,
      signingKey: kind === 'intermediate' ? betweenKeys.privateKey : keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      ],
    });
    const chain = kind === 'intermediate' ? [leaf, between] : [leaf];
    return {
      key: await exportKey(clientKeys.privateKey),
      cert: chain.map((certificate) => `${certificate.toString('pem')}\n`).join(''),
    };
  }

  return { certificatePem, issue, issueClient };
}
