import { generateKeyPair, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';

import ipaddr from 'ipaddr.js';

import {
  MAX_COMMON_NAME_LENGTH,
  encodeCertificate,
  encodeCertificatePem,
  opensslSubjectFileName,
} from './certificate.ts';
import type { DistinguishedName, SubjectAltName } from './certificate.ts';

const generateKeys = promisify(generateKeyPair);

const DAY_MS = 24 * 60 * 60 * 1000;
/** Both kinds start this long ago: the clock of a VM or a container's image may be behind. */
const BACKDATE_MS = DAY_MS;
/** The authority outlives every sandbox; its key dies with the process. */
const AUTHORITY_LIFE_MS = 3650 * DAY_MS;
/** How long a leaf is valid from its issue, in ms. */
export const LEAF_LIFE_MS = 30 * DAY_MS;

const ORGANIZATION = 'Sallyport';

/** A leaf certificate and its private key, for a TLS server. */
export interface Leaf {
  readonly keyPem: string;
  readonly certPem: string;
  /** When the certificate ends, as ms since 1970. */
  readonly notAfterMs: number;
}

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/**
 * The certificate authority of one sandbox, P-256 throughout.
 *
 * Its private key exists in this process's memory only: no method gives it out. All leaves share one key pair, made with the authority: who could
 * read one leaf's key from this process could read them all, so a pair for each would protect nothing and cost a key generation at each new host.
 */
export class CertificateAuthority {
  /** The certificate that the sandbox is to trust, PEM. */
  readonly certificatePem: string;
  /** The same as DER. */
  readonly certificateDer: Buffer;
  /** Under this name a client with `SSL_CERT_DIR` looks for the certificate: `<hash>.0`. */
  readonly opensslFileName: string;

  readonly #subject: DistinguishedName;
  readonly #privateKey: KeyObject;
  readonly #publicKeyInfo: Buffer;
  readonly #leafPublicKeyInfo: Buffer;
  readonly #leafKeyPem: string;
  readonly #now: () => number;

  private constructor(subject: DistinguishedName, keys: KeyPair, leafKeys: KeyPair, now: () => number) {
    this.#subject = subject;
    this.#privateKey = keys.privateKey;
    this.#publicKeyInfo = keys.publicKey.export({ type: 'spki', format: 'der' });
    this.#leafPublicKeyInfo = leafKeys.publicKey.export({ type: 'spki', format: 'der' });
    // SEC1 is what OpenSSL decodes fastest; it is decoded again for every host's context.
    this.#leafKeyPem = leafKeys.privateKey.export({ type: 'sec1', format: 'pem' });
    this.#now = now;
    const at = now();
    this.certificateDer = encodeCertificate({
      serial: randomSerial(),
      issuer: subject,
      subject,
      notBefore: new Date(at - BACKDATE_MS),
      notAfter: new Date(at + AUTHORITY_LIFE_MS),
      subjectPublicKeyInfo: this.#publicKeyInfo,
      issuerPublicKeyInfo: this.#publicKeyInfo,
      issuerPrivateKey: this.#privateKey,
      use: { kind: 'authority' },
    });
    this.certificatePem = encodeCertificatePem(this.certificateDer);
    this.opensslFileName = opensslSubjectFileName(subject);
  }

  /**
   * Makes an authority with fresh keys (in the thread pool, about 1 ms).
   *
   * @param options.commonName what people see in their client's certificate dialogs; cut to 64 characters
   * @param options.now the clock, ms since 1970; default `Date.now`
   */
  static async create(options: { commonName: string; now?: () => number }): Promise<CertificateAuthority> {
    const [keys, leafKeys] = await Promise.all([
      generateKeys('ec', { namedCurve: 'P-256' }),
      generateKeys('ec', { namedCurve: 'P-256' }),
    ]);
    const subject: DistinguishedName = [
      { type: 'organization', text: ORGANIZATION },
      { type: 'commonName', text: options.commonName.slice(0, MAX_COMMON_NAME_LENGTH) },
    ];
    return new CertificateAuthority(subject, keys, leafKeys, options.now ?? Date.now);
  }

  /**
   * Issues a server certificate for one host: a canonical DNS name, an IPv4 or an IPv6 address.
   *
   * The name is in the subject alternative names, and in the common name if it fits there (64 characters).
   */
  async issueLeaf(host: string): Promise<Leaf> {
    const at = this.#now();
    const notAfterMs = at + LEAF_LIFE_MS;
    const der = encodeCertificate({
      serial: randomSerial(),
      issuer: this.#subject,
      subject: leafSubject(host),
      notBefore: new Date(at - BACKDATE_MS),
      notAfter: new Date(notAfterMs),
      subjectPublicKeyInfo: this.#leafPublicKeyInfo,
      issuerPublicKeyInfo: this.#publicKeyInfo,
      issuerPrivateKey: this.#privateKey,
      use: { kind: 'server', altName: altNameOf(host) },
    });
    return { keyPem: this.#leafKeyPem, certPem: encodeCertificatePem(der), notAfterMs };
  }
}

function leafSubject(host: string): DistinguishedName {
  // Never empty, or RFC 5280 section 4.2.1.6 wants the alternative names critical, which some clients do not know.
  return host.length > MAX_COMMON_NAME_LENGTH
    ? [{ type: 'organization', text: ORGANIZATION }]
    : [{ type: 'commonName', text: host }];
}

function altNameOf(host: string): SubjectAltName {
  return isIP(host) === 0
    ? { kind: 'dns', name: host }
    : { kind: 'ip', bytes: Buffer.from(ipaddr.parse(host).toByteArray()) };
}

/** 127 random bits, positive and never zero: the leading byte is 64 to 127. */
function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}
