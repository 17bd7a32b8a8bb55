import { createHash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import {
  derBitString,
  derExplicit,
  derImplicit,
  derObjectIdentifier,
  derOctetString,
  derSequence,
  derSetOfOne,
  derTime,
  derTrue,
  derUnsignedInteger,
  derUtf8String,
} from './der.ts';

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
export const MAX_COMMON_NAME_LENGTH = 64;

/** A distinguished name: its attributes in order, one in each relative distinguished name. */
export type DistinguishedName = readonly { readonly type: 'commonName' | 'organization'; readonly text: string }[];

/** What a leaf certificate is for. */
export type SubjectAltName =
  | { readonly kind: 'dns'; readonly name: string }
  /** 4 or 16 bytes, in network order. */
  | { readonly kind: 'ip'; readonly bytes: Uint8Array };

/** Everything that goes into a certificate; the caller brings clock and randomness. */
export interface CertificateFields {
  /** Big-endian, at most 20 bytes with the sign bit (RFC 5280 section 4.1.2.2). */
  readonly serial: Uint8Array;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** A P-256 public key as DER SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Buffer;
  /** Likewise; names the issuer's key in the leaf. */
  readonly issuerPublicKeyInfo: Buffer;
  /** A P-256 private key. */
  readonly issuerPrivateKey: KeyObject;
  readonly use: { readonly kind: 'authority' } | { readonly kind: 'server'; readonly altName: SubjectAltName };
}

/**
 * Makes an X.509 v3 certificate (RFC 5280), signed by ECDSA with SHA-256, as DER.
 *
 * Its extensions are those that OpenSSL's strict mode (the default of Python since 3.13), Go, Java and webpki ask for.
 */
export function encodeCertificate(fields: CertificateFields): Buffer {
  const algorithm = derSequence(derObjectIdentifier(OID.ecdsaWithSha256));
  const toBeSigned = derSequence(
    derExplicit(0, derUnsignedInteger(Buffer.of(2))),
    derUnsignedInteger(fields.serial),
    algorithm,
    encodeName(fields.issuer),
    derSequence(derTime(fields.notBefore), derTime(fields.notAfter)),
    encodeName(fields.subject),
    fields.subjectPublicKeyInfo,
    derExplicit(3, derSequence(...encodeExtensions(fields))),
  );
  const signature = sign('sha256', toBeSigned, { key: fields.issuerPrivateKey, dsaEncoding: 'der' });
  return derSequence(toBeSigned, algorithm, derBitString(signature));
}

/** Wraps DER as a PEM certificate, with 64 characters a line (RFC 7468). */
export function encodeCertificatePem(der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64');
  const lines: string[] = [];
  for (let start = 0; start < base64.length; start += 64) {
    lines.push(base64.slice(start, start + 64));
  }
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function encodeExtensions(fields: CertificateFields): Buffer[] {
  const subjectKeyIdentifier = extension(
    OID.subjectKeyIdentifier,
    'not-critical',
    derOctetString(keyIdentifier(fields.subjectPublicKeyInfo)),
  );
  if (fields.use.kind === 'authority') {
    return [
      // cA TRUE, pathLenConstraint 0: it signs leaves and no other authority.
      extension(OID.basicConstraints, 'critical', derSequence(derTrue(), derUnsignedInteger(Buffer.of(0)))),
      // Bits 5 and 6: keyCertSign, cRLSign.
      extension(OID.keyUsage, 'critical', derBitString(Buffer.of(0b0000_0110), 1)),
      subjectKeyIdentifier,
    ];
  }
  return [
    extension(OID.basicConstraints, 'critical', derSequence()),
    // Bit 0: digitalSignature.
    extension(OID.keyUsage, 'critical', derBitString(Buffer.of(0b1000_0000), 7)),
    extension(OID.extendedKeyUsage, 'not-critical', derSequence(derObjectIdentifier(OID.serverAuth))),
    extension(OID.subjectAltName, 'not-critical', derSequence(encodeAltName(fields.use.altName))),
    subjectKeyIdentifier,
    extension(
      OID.authorityKeyIdentifier,
      'not-critical',
      derSequence(derImplicit(0, keyIdentifier(fields.issuerPublicKeyInfo))),
    ),
  ];
}

function extension(oid: string, criticality: 'critical' | 'not-critical', value: Buffer): Buffer {
  const critical = criticality === 'critical' ? [derTrue()] : [];
  return derSequence(derObjectIdentifier(oid), ...critical, derOctetString(value));
}

function encodeAltName(altName: SubjectAltName): Buffer {
  switch (altName.kind) {
    case 'dns':
      return derImplicit(2, Buffer.from(altName.name, 'latin1'));
    case 'ip':
      return derImplicit(7, altName.bytes);
  }
}

function encodeName(name: DistinguishedName): Buffer {
  return derSequence(...name.map(({ type, text }) => encodeRelativeName(type, text)));
}

function encodeRelativeName(type: keyof typeof OID, text: string): Buffer {
  return derSetOfOne(derSequence(derObjectIdentifier(OID[type]), derUtf8String(text)));
}

/**
 * RFC 7093 section 2 method 1: the leftmost 160 bits of SHA-256 over the subject public key's bits.
 *
 * For P-256 these are the last 65 bytes of the SubjectPublicKeyInfo, an uncompressed point.
 */
function keyIdentifier(subjectPublicKeyInfo: Buffer): Buffer {
  return createHash('sha256').update(subjectPublicKeyInfo.subarray(-65)).digest().subarray(0, 20);
}

/**
 * The file name (`<hash>.0`) under which OpenSSL looks for a certificate of this subject in `SSL_CERT_DIR`.
 *
 * It is what `openssl x509 -subject_hash` prints: the first four bytes, little-endian, of SHA-1 over the name in OpenSSL's canonical
 * form (X509_NAME_hash): values in lower case with white space trimmed and collapsed, without the outer SEQUENCE header.
 */
export function opensslSubjectFileName(subject: DistinguishedName): string {
  const canonical = subject.map(({ type, text }) =>
    encodeRelativeName(
      type,
      text
        .trim()
        .replaceAll(/[ \t\n\v\f\r]+/g, ' ')
        // OpenSSL lowers ASCII only.
        .replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase()),
    ),
  );
  const hash = createHash('sha1').update(Buffer.concat(canonical)).digest().readUInt32LE(0);
  return `${hash.toString(16).padStart(8, '0')}.0`;
}
