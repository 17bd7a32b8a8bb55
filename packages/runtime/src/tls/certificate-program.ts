import { KeyObject, createHash, randomBytes, webcrypto } from 'node:crypto';
import type { JsonNameParams, Name, X509Certificate } from '@peculiar/x509';
import { loadX509Library } from './x509-library.ts';
import type { X509Library } from './x509-library.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** Both kinds start this long ago: the clock of a VM or a container's image may be behind. */
const BACKDATE_MS = DAY_MS;
/** The authority outlives every sandbox; its key dies with the process. */
const AUTHORITY_LIFE_MS = 3650 * DAY_MS;

const ORGANIZATION = 'Sallyport';
/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
const MAX_COMMON_NAME_LENGTH = 64;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** What becomes public of a new authority. */
export interface AuthorityReport {
  readonly certificateDer: Uint8Array;
  readonly certificatePem: string;
  readonly opensslFileName: string;
  /** The key of every leaf of this authority, PEM. */
  readonly leafKeyPem: string;
}

/** What a leaf is to say. */
export interface LeafRequest {
  /** A canonical DNS name, an IPv4 or an IPv6 address. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly nowMs: number;
  readonly notAfterMs: number;
}

interface Authority {
  readonly subject: Name;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly leafKeys: webcrypto.CryptoKeyPair;
}

/**
 * Makes authorities and their leaves, P-256 throughout, with the extensions that OpenSSL's strict mode (the default of Python since
 * 3.13), Go, Java and webpki ask for. The keys of authorities stay in here.
 */
export class CertificateProgram {
  readonly #x509: X509Library = loadX509Library();
  readonly #authorities = new Map<number, Authority>();

  /** Makes an authority with fresh keys, to be asked for leaves by `id`. */
  async createAuthority(id: number, commonName: string, nowMs: number): Promise<AuthorityReport> {
    const x509 = this.#x509;
    const [keys, leafKeys] = await Promise.all([generateKeys(), generateKeys()]);
    const names = [
      ['O', ORGANIZATION],
      ['CN', commonName.slice(0, MAX_COMMON_NAME_LENGTH)],
    ] as const;
    const subject = new x509.Name(toJsonName(names));
    this.#authorities.set(id, { subject, keys, leafKeys });
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: randomSerial(),
      name: subject,
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + AUTHORITY_LIFE_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        // A path length of 0: it signs leaves and no other authority.
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return {
      certificateDer: new Uint8Array(certificate.rawData),
      certificatePem: toPem(certificate),
      opensslFileName: opensslSubjectFileName(new x509.Name(toJsonName(names.map(canonicalAttribute)))),
      leafKeyPem: exportKey(leafKeys.privateKey),
    };
  }

  /** Issues a server certificate of the authority `id` for one host, as PEM. */
  async issueLeaf(id: number, leaf: LeafRequest): Promise<string> {
    const { host } = leaf;
    const x509 = this.#x509;
    const authority = this.#authorities.get(id);
    if (authority === undefined) throw new RangeError(`There is no authority ${id}`);
    // Never an empty subject, or RFC 5280 section 4.2.1.6 wants the alternative names critical, which some clients do not know.
    const subject = host.length > MAX_COMMON_NAME_LENGTH ? (['O', ORGANIZATION] as const) : (['CN', host] as const);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      subject: new x509.Name(toJsonName([subject])),
      issuer: authority.subject,
      notBefore: new Date(leaf.nowMs - BACKDATE_MS),
      notAfter: new Date(leaf.notAfterMs),
      signingAlgorithm: ALGORITHM,
      publicKey: authority.leafKeys.publicKey,
      signingKey: authority.keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: leaf.isAddress ? 'ip' : 'dns', value: host }]),
        await x509.SubjectKeyIdentifierExtension.create(authority.leafKeys.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(authority.keys.publicKey),
      ],
    });
    return toPem(certificate);
  }

  /** Drops the keys of an authority. */
  forget(id: number): void {
    this.#authorities.delete(id);
  }
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

function toPem(certificate: X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** SEC1 is what OpenSSL decodes fastest; it is decoded again for every host's context. */
function exportKey(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'sec1', format: 'pem' });
}

/** 127 random bits, positive and never zero: the leading byte is 64 to 127. */
function randomSerial(): string {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial.toString('hex');
}

type Attribute = readonly [type: 'O' | 'CN', text: string];

function toJsonName(attributes: readonly Attribute[]): JsonNameParams {
  return attributes.map(([type, text]) => ({ [type]: [{ utf8String: text }] }));
}

/** As OpenSSL compares names: in lower case (ASCII only), with white space trimmed and collapsed. */
function canonicalAttribute([type, text]: Attribute): Attribute {
  const collapsed = text.trim().replaceAll(/[ \t\n\v\f\r]+/g, ' ');
  return [type, collapsed.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())];
}

/**
 * The file name (`<hash>.0`) under which OpenSSL looks for a certificate of this subject in `SSL_CERT_DIR`: what
 * `openssl x509 -subject_hash` prints, the first four bytes, little-endian, of SHA-1 over the canonical name without
 * the header of its outer SEQUENCE (X509_NAME_hash).
 */
function opensslSubjectFileName(canonical: Name): string {
  const der = Buffer.from(canonical.toArrayBuffer());
  const lengthByte = der[1] ?? 0;
  const headerLength = lengthByte < 0x80 ? 2 : 2 + (lengthByte & 0x7f);
  const hash = createHash('sha1').update(der.subarray(headerLength)).digest().readUInt32LE(0);
  return `${hash.toString(16).padStart(8, '0')}.0`;
}
