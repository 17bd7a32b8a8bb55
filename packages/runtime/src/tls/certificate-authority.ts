import { isIP } from 'node:net';
import { certificateThread } from './certificate-thread.ts';
import type { CertificateThread } from './certificate-thread.ts';

/** How long a leaf is valid from its issue, in ms. */
export const LEAF_LIFE_MS = 30 * 24 * 60 * 60 * 1000;

/** A leaf certificate and its private key, for a TLS server. */
export interface Leaf {
  readonly keyPem: string;
  readonly certPem: string;
  /** When the certificate ends, as ms since 1970. */
  readonly notAfterMs: number;
}

/**
 * The certificate authority of one sandbox, P-256 throughout.
 *
 * Its private key exists in this process's memory only, in the thread that signs: no method gives it out. All leaves share one key pair,
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

  readonly #thread: CertificateThread;
  readonly #number: number;
  readonly #leafKeyPem: string;
  readonly #now: () => number;

  private constructor(
    thread: CertificateThread,
    made: Awaited<ReturnType<CertificateThread['createAuthority']>>,
    now: () => number,
  ) {
    this.#thread = thread;
    this.#number = made.authority;
    this.certificatePem = made.certificatePem;
    this.certificateDer = Buffer.from(made.certificateDer);
    this.opensslFileName = made.opensslFileName;
    this.#leafKeyPem = made.leafKeyPem;
    this.#now = now;
  }

  /**
   * Makes an authority with fresh keys, in the certificate thread.
   *
   * @param options.commonName what people see in their client's certificate dialogs; cut to 64 characters
   * @param options.now the clock, ms since 1970; default `Date.now`
   * @throws SallyportError INTERNAL when that thread fails
   */
  static async create(options: { commonName: string; now?: () => number }): Promise<CertificateAuthority> {
    const now = options.now ?? Date.now;
    const thread = certificateThread();
    return new CertificateAuthority(thread, await thread.createAuthority(options.commonName, now()), now);
  }

  /**
   * Issues a server certificate for one host: a canonical DNS name, an IPv4 or an IPv6 address.
   *
   * The name is in the subject alternative names, and in the common name if it fits there (64 characters).
   *
   * @throws SallyportError INTERNAL when the certificate thread fails
   */
  async issueLeaf(host: string): Promise<Leaf> {
    const nowMs = this.#now();
    const notAfterMs = nowMs + LEAF_LIFE_MS;
    const leaf = { host, isAddress: isIP(host) !== 0, nowMs, notAfterMs };
    const certPem = await this.#thread.issueLeaf(this.#number, leaf);
    return { keyPem: this.#leafKeyPem, certPem, notAfterMs };
  }

  /** Drops the private key; nothing is issued any more. */
  close(): void {
    this.#thread.forget(this.#number);
  }
}
