import 'reflect-metadata'; // First: the library decorates its classes by it.
import { randomBytes } from 'node:crypto';
import type { KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ORGANIZATION = 'Sallyport';
/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
const MAX_COMMON_NAME_LENGTH = 64;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** From when and until when a certificate is valid, as ms since 1970. */
interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** What the certificate of an authority is to say. All keys are P-256. */
export interface AuthorityRequest extends Validity {
  /** Cut to 64 characters. */
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** What the certificate of a server is to say, and who signs it. */
export interface LeafRequest extends Validity {
  /** A canonical DNS name, an IPv4 or an IPv6 address. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly publicKey: KeyObject;
  /** The certificate of the authority, PEM, and its private key. */
  readonly authorityPem: string;
  readonly authorityKey: KeyObject;
}

/** Makes the certificate of an authority, signed by itself, as PEM. */
export async function certifyAuthority(request: AuthorityRequest): Promise<string> {
  const publicKey = importPublic(request.publicKey);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: toName([
      ['O', ORGANIZATION],
      ['CN', request.commonName.slice(0, MAX_COMMON_NAME_LENGTH)],
    ]),
    notBefore: new Date(request.notBeforeMs),
    notAfter: new Date(request.notAfterMs),
    signingAlgorithm: ALGORITHM,
    keys: { publicKey, privateKey: importPrivate(request.privateKey) },
    extensions: [
      // A path length of 0: it signs leaves and no other authority.
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return toPem(certificate);
}

/**
 * Makes the certificate of a server, as PEM, with the extensions that OpenSSL's strict mode (the default of Python since 3.13), Go, Java
 * and webpki ask for.
 */
export async function certifyLeaf(request: LeafRequest): Promise<string> {
  const { host } = request;
  const authority = new x509.X509Certificate(request.authorityPem);
  const publicKey = importPublic(request.publicKey);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    // Never an empty subject, or RFC 5280 section 4.2.1.6 wants the alternative names critical, which some clients do not know.
    subject: toName([host.length > MAX_COMMON_NAME_LENGTH ? ['O', ORGANIZATION] : ['CN', host]]),
    issuer: authority.subjectName,
    notBefore: new Date(request.notBeforeMs),
    notAfter: new Date(request.notAfterMs),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: importPrivate(request.authorityKey),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: request.isAddress ? 'ip' : 'dns', value: host }]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  return toPem(certificate);
}

function importPublic(key: KeyObject): webcrypto.CryptoKey {
  return key.toCryptoKey(ALGORITHM, true, ['verify']);
}

function importPrivate(key: KeyObject): webcrypto.CryptoKey {
  return key.toCryptoKey(ALGORITHM, false, ['sign']);
}

function toPem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** 126 random bits, positive and never zero: the leading byte is 64 to 127. */
function randomSerial(): string {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial.toString('hex');
}

/** In UTF-8, and never parsed: whatever is in the text is the text. */
function toName(attributes: readonly (readonly [type: 'O' | 'CN', text: string])[]): x509.Name {
  return new x509.Name(attributes.map(([type, text]) => ({ [type]: [{ utf8String: text }] })));
}
