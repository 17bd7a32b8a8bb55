import { constants, createHash, randomBytes } from 'node:crypto';
import { createSecureContext, DEFAULT_CIPHERS } from 'node:tls';
import type { SecureContext } from 'node:tls';

import { LEAF_LIFE_MS } from './certificate-authority.ts';
import type { CertificateAuthority } from './certificate-authority.ts';

/** Contexts kept when nothing else is said. One costs about 20 KiB. */
export const DEFAULT_LEAF_CONTEXT_CAPACITY = 256;

/** A leaf is issued anew when this little of its life is left, in ms: long-lived connections and clocks ahead of ours. */
const RENEW_BEFORE_END_MS = 24 * 60 * 60 * 1000;

/**
 * A key for session tickets lives this long, in ms. Who gets hold of one can read what was said under the tickets of TLS 1.2 that it sealed
 * (RFC 5077 section 5.5), so of a long-lived sandbox it must not be all.
 */
export const TICKET_KEY_LIFE_MS = 12 * 60 * 60 * 1000;

/**
 * What is accepted is Node's own list; what is preferred is this suite. Of TLS 1.3's it takes a tenth of the work off a handshake, as processors have
 * instructions for SHA-256 and none for SHA-384. These bytes never leave the machine.
 */
const PREFERRED_SUITE = 'TLS_AES_128_GCM_SHA256';
const CIPHERS = DEFAULT_CIPHERS.split(':')
  .toSorted((a, b) => Number(b === PREFERRED_SUITE) - Number(a === PREFERRED_SUITE))
  .join(':');

interface Entry {
  readonly context: Promise<SecureContext>;
  /** The same, once it is there. */
  made: SecureContext | null;
  readonly renewAtMs: number;
}

/**
 * The server-side TLS contexts of one sandbox: a leaf for each host, in a bounded least-recently-used cache.
 *
 * All share one ticket key at a time, so that a session is resumed although its context was evicted in between; each has a session id context of its
 * own, so that a ticket for one host does not resume at another.
 */
export class LeafContexts {
  readonly #authority: CertificateAuthority;
  readonly #capacity: number;
  readonly #now: () => number;
  #ticketKeys: Buffer = randomBytes(48);
  #ticketKeysUntilMs: number;
  /** In order of use, the oldest first. */
  readonly #entries = new Map<string, Entry>();

  /**
   * @param options.authority signs the leaves
   * @param options.capacity the most contexts kept; default {@link DEFAULT_LEAF_CONTEXT_CAPACITY}
   * @param options.now the clock, ms since 1970; default `Date.now`
   */
  constructor(options: { authority: CertificateAuthority; capacity?: number; now?: () => number }) {
    this.#authority = options.authority;
    this.#capacity = Math.max(1, options.capacity ?? DEFAULT_LEAF_CONTEXT_CAPACITY);
    this.#now = options.now ?? Date.now;
    this.#ticketKeysUntilMs = this.#now() + TICKET_KEY_LIFE_MS;
  }

  /** How many contexts are kept at this moment. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * The context that presents a leaf for `host` (canonical name or address): TLS 1.2 and up. One creation at a time for each host.
   *
   * The first one in a process costs some ms of warming up: ask for a known host while the sandbox starts.
   */
  async contextFor(host: string): Promise<SecureContext> {
    const known = this.#find(host);
    if (known !== null) return known.context;
    const entry: Entry = {
      context: this.#create(host),
      made: null,
      renewAtMs: this.#now() + LEAF_LIFE_MS - RENEW_BEFORE_END_MS,
    };
    this.#entries.delete(host);
    this.#entries.set(host, entry);
    this.#evict();
    try {
      entry.made = await entry.context;
      return entry.made;
    } catch (error) {
      if (this.#entries.get(host) === entry) {
        this.#entries.delete(host);
      }
      throw error;
    }
  }

  /** What {@link LeafContexts.contextFor} would give, where that is there already; null where it has to be waited for. */
  knownContext(host: string): SecureContext | null {
    return this.#find(host)?.made ?? null;
  }

  #find(host: string): Entry | null {
    this.#rotateTicketKeys();
    const known = this.#entries.get(host);
    if (known === undefined || this.#now() >= known.renewAtMs) return null;
    this.#entries.delete(host);
    this.#entries.set(host, known);
    return known;
  }

  async #create(host: string): Promise<SecureContext> {
    const leaf = await this.#authority.issueLeaf(host);
    return createSecureContext({
      key: leaf.keyPem,
      cert: leaf.certPem,
      minVersion: 'TLSv1.2',
      ciphers: CIPHERS,
      honorCipherOrder: true,
      // For a client that prefers it because its processor has no instructions for AES.
      secureOptions: constants.SSL_OP_PRIORITIZE_CHACHA,
      ticketKeys: this.#ticketKeys,
      // OpenSSL takes 32 bytes at most, Node a string.
      sessionIdContext: createHash('sha256').update(host).digest('hex').slice(0, 32),
    });
  }

  /** A context keeps the key that it was made with, so all are made anew. Sessions of before are not resumed: a handshake more. */
  #rotateTicketKeys(): void {
    if (this.#now() < this.#ticketKeysUntilMs) return;
    this.#ticketKeys = randomBytes(48);
    this.#ticketKeysUntilMs = this.#now() + TICKET_KEY_LIFE_MS;
    this.#entries.clear();
  }

  #evict(): void {
    for (const host of this.#entries.keys()) {
      if (this.#entries.size <= this.#capacity) {
        return;
      }
      this.#entries.delete(host);
    }
  }
}
