import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { makeAuthorityCertificate } from './authority-certificate.ts';
import type { AuthorityCertificate } from './authority-certificate.ts';
import { certificateThread } from './certificate-thread.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** How long a leaf is valid from its issue, in ms. */
export const LEAF_LIFE_MS = 30 * DAY_MS;

/** A certificate authority as text, its private key included. */
export interface SavedAuthority {
  readonly certificatePem: string;
  readonly keyPem: string;
}

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

/** What {@link CertificateAuthority.create} needs. */
export interface CertificateAuthorityOptions {
  /** The path of OpenSSL's command, version 3 or newer. */
  readonly openssl: string;
  /** What people see in their client's certificate dialogs; cut to 64 characters. */
  readonly commonName: string;
  /** The clock of the leaves, ms since 1970; default `Date.now`. */
  readonly now?: () => number;
}

/**
 * The certificate authority of one sandbox, P-256 throughout.
 *
 * Its private key leaves this process's memory only by {@link CertificateAuthority.save}. The thread that signs is handed it for each
 * certificate and keeps nothing, so another one can take its place. All leaves share one key pair,
 * made with the authority: who could read one leaf's key from this process could read them all, so a pair for each would protect nothing
 * and cost a key generation at each new host.
 */
export class CertificateAuthority {
  /** The certificate that the sandbox is to trust, PEM. */
  readonly certificatePem: string;
  /** The same as DER. */
  readonly certificateDer: Buffer;

  readonly #notBeforeMs: number;
  readonly #leafPublicKey: KeyObject;
  readonly #leafKeyPem: string;
  readonly #now: () => number;
  #key: KeyObject | null;

  private constructor({ certificate, key }: AuthorityCertificate, leafKeys: KeyPair, now: () => number) {
    this.certificatePem = certificate.toString();
    this.certificateDer = certificate.raw;
    this.#notBeforeMs = certificate.validFromDate.getTime();
    this.#key = key;
    this.#leafPublicKey = leafKeys.publicKey;
    // SEC1 is what OpenSSL decodes fastest; it is decoded again for every host's context.
    this.#leafKeyPem = leafKeys.privateKey.export({ type: 'sec1', format: 'pem' });
    this.#now = now;
  }

  /**
   * Makes an authority with fresh keys, by OpenSSL's command: 10 ms, which this thread does not spend. The thread that issues leaves is
   * not started.
   *
   * @throws SallyportError INTERNAL when that command fails
   */
  static async create(options: CertificateAuthorityOptions): Promise<CertificateAuthority> {
    const made = makeAuthorityCertificate(options.openssl, options.commonName);
    const leafKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return new CertificateAuthority(await made, leafKeys, options.now ?? Date.now);
  }

  /**
   * Makes the authority of a sandbox again that outlived the process of the first one. Its leaves have another key.
   *
   * @throws SallyportError INTERNAL when what was saved is damaged
   */
  static restore(saved: SavedAuthority, options: { now?: () => number } = {}): CertificateAuthority {
    try {
      const [certificate, key] = [new X509Certificate(saved.certificatePem), createPrivateKey(saved.keyPem)];
      const leafKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      if (certificate.checkPrivateKey(key))
        return new CertificateAuthority({ certificate, key }, leafKeys, options.now ?? Date.now);
    } catch {
      // The reason could quote the key.
    }
    throw new SallyportError('INTERNAL', 'The saved certificate authority of the sandbox is damaged.');
  }

  /**
   * What {@link CertificateAuthority.restore} takes, the private key included: for a place that only this user can read.
   *
   * @throws SallyportError INTERNAL when the authority is closed
   */
  save(): SavedAuthority {
    if (this.#key === null) throw new SallyportError('INTERNAL', 'The certificate authority is closed.');
    return {
      certificatePem: this.certificatePem,
      keyPem: this.#key.export({ type: 'pkcs8', format: 'pem' }),
    };
  }

  /** Starts the thread that issues leaves, for which the first one would wait some 60 ms. */
  prepare(): void {
    certificateThread();
  }

  /**
   * Issues a server certificate for one host: a canonical DNS name, an IPv4 or an IPv6 address.
   *
   * The name is in the subject alternative names, and in the common name if it fits there (64 characters).
   *
   * @throws SallyportError INTERNAL when the authority is closed, or the certificate thread fails
   */
  async issueLeaf(host: string): Promise<Leaf> {
    if (this.#key === null) {
      throw new SallyportError('INTERNAL', 'The sandbox has ended: its certificate authority issues nothing any more.');
    }
    const notAfterMs = this.#now() + LEAF_LIFE_MS;
    const certPem = await certificateThread().certifyLeaf({
      host,
      isAddress: isIP(host) !== 0,
      notBeforeMs: this.#notBeforeMs,
      notAfterMs,
      publicKey: this.#leafPublicKey,
      authorityPem: this.certificatePem,
      authorityKey: this.#key,
    });
    return { keyPem: this.#leafKeyPem, certPem, notAfterMs };
  }

  /** Drops the private key; nothing is issued any more. */
  close(): void {
    this.#key = null;
  }
}
