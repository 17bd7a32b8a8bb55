import 'reflect-metadata'; // First: the library decorates its classes by it.
import { randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
const MAX_COMMON_NAME_LENGTH = 64;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** What the certificate of a server is to say, and who signs it. */
export interface LeafRequest {
  /** A canonical DNS name, an IPv4 or an IPv6 address. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** All keys are P-256. */
  readonly publicKey: KeyObject;
  /** The certificate of the authority, PEM, and its private key. */
  readonly authorityPem: string;
  readonly authorityKey: KeyObject;
}

/**
 * Makes the certificate of a server, as PEM, with the extensions that OpenSSL's strict mode (the default of Python since 3.13), Go, Java
 * and webpki ask for.
 */
export async function certifyLeaf(request: LeafRequest): Promise<string> {
  const { host } = request;
  const authority = new x509.X509Certificate(request.authorityPem);
  const publicKey = request.publicKey.toCryptoKey(ALGORITHM, true, ['verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    // Never an empty subject, or RFC 5280 section 4.2.1.6 wants the alternative names critical, which some clients do not know.
    subject: toName(host.length > MAX_COMMON_NAME_LENGTH ? ['O', 'Sallyport'] : ['CN', host]),
    issuer: authority.subjectName,
    notBefore: new Date(request.notBeforeMs),
    notAfter: new Date(request.notAfterMs),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: request.authorityKey.toCryptoKey(ALGORITHM, false, ['sign']),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: request.isAddress ? 'ip' : 'dns', value: host }]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** 126 random bits, positive and never zero: the leading byte is 64 to 127. */
function randomSerial(): string {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial.toString('hex');
}

/** In UTF-8, and never parsed: whatever is in the text is the text. */
function toName([type, text]: readonly [type: 'O' | 'CN', text: string]): x509.Name {
  return new x509.Name([{ [type]: [{ utf8String: text }] }]);
}
