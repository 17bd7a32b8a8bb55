import { createHash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { parseAddress } from '../policy/ip-address.ts';
import {
  bitString, explicitTag, implicitTag, integer, objectIdentifier, octetString, sequence, setOf, time, trueValue, utf8String,
} from './der.ts'; // prettier-ignore

/** A part of a name, as RFC 5280 appendix A abbreviates it. */
export type NameAttribute = readonly [type: 'O' | 'CN', text: string];

/** What a certificate says. */
export interface CertificateContent {
  /** Big-endian, positive, at most 20 bytes (RFC 5280 section 4.1.2.2). */
  readonly serialNumber: Uint8Array;
  readonly issuer: readonly NameAttribute[];
  readonly subject: readonly NameAttribute[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKey: KeyObject;
  readonly extensions: readonly Buffer[];
}

const ATTRIBUTE_TYPES = { O: objectIdentifier('2.5.4.10'), CN: objectIdentifier('2.5.4.3') } as const;
const ECDSA_WITH_SHA256 = sequence(objectIdentifier('1.2.840.10045.4.3.2'));
const SERVER_AUTH = objectIdentifier('1.3.6.1.5.5.7.3.1');
const VERSION_3 = explicitTag(0, integer(Buffer.of(2)));

/** The tags of `GeneralName` (RFC 5280 section 4.2.1.6). */
const DNS_NAME_TAG = 2;
const IP_ADDRESS_TAG = 7;

/**
 * Writes a version 3 certificate and signs it by ECDSA with SHA-256 (RFC 5280 section 4.1, RFC 5758 section 3.2), as DER.
 *
 * @param key on an elliptic curve; its signature is OpenSSL's.
 */
export function signCertificate(content: CertificateContent, key: KeyObject): Buffer {
  const toBeSigned = sequence(
    VERSION_3,
    integer(content.serialNumber),
    ECDSA_WITH_SHA256,
    encodeName(content.issuer),
    sequence(time(content.notBeforeMs), time(content.notAfterMs)),
    encodeName(content.subject),
    content.publicKey.export({ type: 'spki', format: 'der' }),
    explicitTag(3, sequence(...content.extensions)),
  );
  return sequence(toBeSigned, ECDSA_WITH_SHA256, bitString(sign('sha256', toBeSigned, key)));
}

/** A distinguished name of one attribute a part. */
export function encodeName(attributes: readonly NameAttribute[]): Buffer {
  return sequence(...attributes.map(([type, text]) => setOf(sequence(ATTRIBUTE_TYPES[type], utf8String(text)))));
}

function extension(identifier: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(objectIdentifier(identifier), ...(isCritical ? [trueValue()] : []), octetString(value));
}

/** Basic constraints, critical: an authority with the number of authorities that may follow it, or null for a leaf. */
export function basicConstraints(pathLength: number | null): Buffer {
  const value = pathLength === null ? sequence() : sequence(trueValue(), integer(Buffer.of(pathLength)));
  return extension('2.5.29.19', true, value);
}

/** Key usage, critical. The bits count from the highest of the first byte (RFC 5280 section 4.2.1.3). */
export function keyUsage(usage: 'digitalSignature' | 'certificates'): Buffer {
  const value =
    usage === 'digitalSignature' ? bitString(Buffer.of(0b1000_0000), 7) : bitString(Buffer.of(0b0000_0110), 1);
  return extension('2.5.29.15', true, value);
}

/** Extended key usage: a TLS server. */
export function serverAuthentication(): Buffer {
  return extension('2.5.29.37', false, sequence(SERVER_AUTH));
}

/**
 * Subject alternative names: one DNS name or one address.
 *
 * @throws RangeError for a name that is not ASCII, or an address that is none: either would be another host than the one meant.
 */
export function subjectAlternativeName(host: string, isAddress: boolean): Buffer {
  return extension('2.5.29.17', false, sequence(isAddress ? encodeAddress(host) : encodeDnsName(host)));
}

function encodeAddress(host: string): Buffer {
  const bytes = parseAddress(host);
  if (bytes === null) throw new RangeError('not an IP address');
  return implicitTag(IP_ADDRESS_TAG, Buffer.from(bytes));
}

function encodeDnsName(host: string): Buffer {
  if (!/^[\x21-\x7e]+$/.test(host)) throw new RangeError('not an ASCII host name');
  return implicitTag(DNS_NAME_TAG, Buffer.from(host, 'latin1'));
}

/** Subject key identifier. */
export function subjectKeyIdentifier(key: KeyObject): Buffer {
  return extension('2.5.29.14', false, octetString(keyIdentifier(key)));
}

/** Authority key identifier: that of the key which signs. */
export function authorityKeyIdentifier(key: KeyObject): Buffer {
  return extension('2.5.29.35', false, sequence(implicitTag(0, keyIdentifier(key))));
}

/** SHA-1 over the point of an uncompressed P-256 key: the first method of RFC 5280 section 4.2.1.2. A name, not a protection. */
function keyIdentifier(key: KeyObject): Buffer {
  const UNCOMPRESSED_POINT_BYTES = 65;
  const spki = key.export({ type: 'spki', format: 'der' });
  return createHash('sha1').update(spki.subarray(-UNCOMPRESSED_POINT_BYTES)).digest();
}

/** A certificate as PEM (RFC 7468), with a final newline. */
export function certificatePem(der: Buffer): string {
  const lines = der.toString('base64').replaceAll(/.{1,64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}
