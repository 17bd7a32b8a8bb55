import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { certificateThread } from './certificate-thread.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** How long a leaf is valid from its issue, in ms. */
export const LEAF_LIFE_MS = 30 * DAY_MS;
/** Both kinds start this long ago: the clock of a VM or a container's image may be behind. */
const BACKDATE_MS = DAY_MS;
/** The authority outlives every sandbox; its key dies with the process. */
const AUTHORITY_LIFE_MS = 3650 * DAY_MS;

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
 * Its private key exists in this process's memory only: no method gives it out. The thread that signs is handed it for each
 * certificate and keeps nothing, so another one can take its place. All leaves share one key pair,
 * made with the authority: who could read one leaf's key from this process could read them all, so a pair for each would protect nothing
 * and cost a key generation at each new host.
 */
export class CertificateAuthority {
  /** The certificate that the sandbox is to trust, PEM. */
  readonly certificatePem: string;
  /** The same as DER. */
  readonly certificateDer: Buffer;

  readonly #leafPublicKey: KeyObject;
  readonly #leafKeyPem: string;
  readonly #now: () => number;
  #key: KeyObject | null;

  private constructor(certificatePem: string, key: KeyObject, leafKeys: KeyPair, now: () => number) {
    this.certificatePem = certificatePem;
    this.certificateDer = new X509Certificate(certificatePem).raw;
    this.#key = key;
    this.#leafPublicKey = leafKeys.publicKey;
    // SEC1 is what OpenSSL decodes fastest; it is decoded again for every host's context.
    this.#leafKeyPem = leafKeys.privateKey.export({ type: 'sec1', format: 'pem' }).toString();
    this.#now = now;
  }

  /**
   * Makes an authority with fresh keys. It waits for the certificate thread, which had better been started before.
   *
   * @param options.commonName what people see in their client's certificate dialogs; cut to 64 characters
   * @param options.now the clock, ms since 1970; default `Date.now`
   * @throws SallyportError INTERNAL when that thread fails
   */
  static async create(options: { commonName: string; now?: () => number }): Promise<CertificateAuthority> {
    const now = options.now ?? Date.now;
    const keys = generateKeys();
    const nowMs = now();
    const certPem = await certificateThread().certify({
      kind: 'authority',
      commonName: options.commonName,
      notBeforeMs: nowMs - BACKDATE_MS,
      notAfterMs: nowMs + AUTHORITY_LIFE_MS,
      ...keys,
    });
    return new CertificateAuthority(certPem, keys.privateKey, generateKeys(), now);
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
    const nowMs = this.#now();
    const notAfterMs = nowMs + LEAF_LIFE_MS;
    const certPem = await certificateThread().certify({
      kind: 'leaf',
      host,
      isAddress: isIP(host) !== 0,
      notBeforeMs: nowMs - BACKDATE_MS,
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

function generateKeys(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}
