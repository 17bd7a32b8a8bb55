import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import {
  authorityKeyIdentifier, basicConstraints, certificatePem, encodeName, keyUsage, serverAuthentication, signCertificate,
  subjectAlternativeName, subjectKeyIdentifier,
} from './certificate.ts'; // prettier-ignore
import type { NameAttribute } from './certificate.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** How long a leaf is valid from its issue, in ms. */
export const LEAF_LIFE_MS = 30 * DAY_MS;
/** Both kinds start this long ago: the clock of a VM or a container's image may be behind. */
const BACKDATE_MS = DAY_MS;
/** The authority outlives every sandbox; its key dies with the process. */
const AUTHORITY_LIFE_MS = 3650 * DAY_MS;

const ORGANIZATION = 'Sallyport';
/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
const MAX_COMMON_NAME_LENGTH = 64;

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** A leaf certificate and its private key, for a TLS server. */
export interface Leaf {
  readonly keyPem: string;
  readonly certPem: string;
  /** When the certificate ends, as ms since 1970. */
  readonly notAfterMs: number;
}

/**
 * The certificate authority of one sandbox, P-256 throughout, with the extensions that OpenSSL's strict mode (the default of Python since
 * 3.13), Go, Java and webpki ask for.
 *
 * Its private key exists in this process's memory only: no method gives it out. All leaves share one key pair,
 * made with the authority: who could read one leaf's key from this process could read them all, so a pair for each would protect nothing
 * and cost a key generation at each new host.
 */
export class CertificateAuthority {
  /** The certificate that the sandbox is to trust, PEM. */
  readonly certificatePem: string;
  /** The same as DER. */
  readonly certificateDer: Buffer;
  /** Under this name a client with `SSL_CERT_DIR` looks for the certificate: `<hash>.0`. */
  readonly opensslFileName: string;

  readonly #subject: readonly NameAttribute[];
  readonly #leafPublicKey: KeyObject;
  readonly #leafKeyPem: string;
  readonly #now: () => number;
  #keys: KeyPair | null;

  private constructor(commonName: string, now: () => number) {
    const keys = generateKeys();
    const leafKeys = generateKeys();
    const nowMs = now();
    this.#keys = keys;
    this.#leafPublicKey = leafKeys.publicKey;
    // SEC1 is what OpenSSL decodes fastest; it is decoded again for every host's context.
    this.#leafKeyPem = leafKeys.privateKey.export({ type: 'sec1', format: 'pem' });
    this.#now = now;
    this.#subject = [
      ['O', ORGANIZATION],
      ['CN', commonName.slice(0, MAX_COMMON_NAME_LENGTH)],
    ];
    this.certificateDer = signCertificate(
      {
        serialNumber: randomSerial(),
        issuer: this.#subject,
        subject: this.#subject,
        notBeforeMs: nowMs - BACKDATE_MS,
        notAfterMs: nowMs + AUTHORITY_LIFE_MS,
        publicKey: keys.publicKey,
        // A path length of 0: it signs leaves and no other authority.
        extensions: [basicConstraints(0), keyUsage('certificates'), subjectKeyIdentifier(keys.publicKey)],
      },
      keys.privateKey,
    );
    this.certificatePem = certificatePem(this.certificateDer);
    this.opensslFileName = opensslSubjectFileName(this.#subject);
  }

  /**
   * Makes an authority with fresh keys; some 4 ms of the processor for the first one of a process.
   *
   * @param options.commonName what people see in their client's certificate dialogs; cut to 64 characters
   * @param options.now the clock, ms since 1970; default `Date.now`
   */
  static create(options: { commonName: string; now?: () => number }): CertificateAuthority {
    return new CertificateAuthority(options.commonName, options.now ?? Date.now);
  }

  /**
   * Issues a server certificate for one host: a canonical DNS name, an IPv4 or an IPv6 address. A fifth of a ms.
   *
   * The name is in the subject alternative names, and in the common name if it fits there (64 characters).
   *
   * @throws SallyportError INTERNAL when the authority is closed
   */
  issueLeaf(host: string): Leaf {
    const keys = this.#keys;
    if (keys === null) {
      throw new SallyportError('INTERNAL', 'The sandbox has ended: its certificate authority issues nothing any more.');
    }
    const nowMs = this.#now();
    const notAfterMs = nowMs + LEAF_LIFE_MS;
    const der = signCertificate(
      {
        serialNumber: randomSerial(),
        issuer: this.#subject,
        // Never an empty subject, or RFC 5280 section 4.2.1.6 wants the alternative names critical, which some clients do not know.
        subject: host.length > MAX_COMMON_NAME_LENGTH ? [['O', ORGANIZATION]] : [['CN', host]],
        notBeforeMs: nowMs - BACKDATE_MS,
        notAfterMs,
        publicKey: this.#leafPublicKey,
        extensions: [
          basicConstraints(null),
          keyUsage('digitalSignature'),
          serverAuthentication(),
          subjectAlternativeName(host, isIP(host) !== 0),
          subjectKeyIdentifier(this.#leafPublicKey),
          authorityKeyIdentifier(keys.publicKey),
        ],
      },
      keys.privateKey,
    );
    return { keyPem: this.#leafKeyPem, certPem: certificatePem(der), notAfterMs };
  }

  /** Drops the private key; nothing is issued any more. */
  close(): void {
    this.#keys = null;
  }
}

function generateKeys(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** 126 random bits, positive and never zero: the leading byte is 64 to 127. */
function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

/** As OpenSSL compares names: in lower case (ASCII only), with white space trimmed and collapsed. */
function canonicalAttribute([type, text]: NameAttribute): NameAttribute {
  const collapsed = text.trim().replaceAll(/[ \t\n\v\f\r]+/g, ' ');
  return [type, collapsed.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())];
}

/**
 * The file name (`<hash>.0`) under which OpenSSL looks for a certificate of this subject in `SSL_CERT_DIR`: what
 * `openssl x509 -subject_hash` prints, the first four bytes, little-endian, of SHA-1 over the canonical name without
 * the header of its outer SEQUENCE (X509_NAME_hash).
 */
function opensslSubjectFileName(subject: readonly NameAttribute[]): string {
  const der = encodeName(subject.map(canonicalAttribute));
  const lengthByte = der[1] ?? 0;
  const headerLength = lengthByte < 0x80 ? 2 : 2 + (lengthByte & 0x7f);
  const hash = createHash('sha1').update(der.subarray(headerLength)).digest().readUInt32LE(0);
  return `${hash.toString(16).padStart(8, '0')}.0`;
}
