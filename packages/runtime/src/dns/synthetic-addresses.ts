import { SallyportError } from '@sallyport/sdk';

import { canonicalHost } from '../policy/host-name.ts';

/** The most names one sandbox may look up when nothing else is said. */
export const DEFAULT_SYNTHETIC_CAPACITY = 4096;

/** 198.18.0.0/15 (benchmarking, RFC 2544) in blocks of 256, of which .0 and .255 are left out: some programs refuse them. */
const V4_BLOCKS = 512;
const V4_PER_BLOCK = 254;
/** The most names that the IPv4 range has room for. */
export const MAX_SYNTHETIC_CAPACITY = V4_BLOCKS * V4_PER_BLOCK;

/** fd53:616c:6c79::/64, a unique local prefix (RFC 4193). */
const V6_PREFIX = 'fd53:616c:6c79:';
const V4_MAPPED = '::ffff:';

/** The addresses that stand for one name, as text: IPv6 as RFC 5952 writes it, like `socket.localAddress`. */
export interface AddressPair {
  readonly v4: string;
  readonly v6: string;
}

/** The names in order of their first look-up: what a restarted daemon needs to give the same addresses. */
export interface SyntheticSnapshot {
  readonly version: 1;
  readonly names: readonly string[];
}

/** How to keep names. */
export interface SyntheticOptions {
  /** The most names; default {@link DEFAULT_SYNTHETIC_CAPACITY}, at most {@link MAX_SYNTHETIC_CAPACITY}. */
  readonly capacity?: number;
  /** Hears of a new name and its position in the snapshot before anybody learns its address; when it throws, the name gets none. */
  readonly onName?: (name: string, position: number) => void;
}

/**
 * The addresses that one sandbox knows names by: an IPv4 and an IPv6 address of its own for each name, so that a destination address
 * names its host. They stay for the sandbox's life and are never used again for another name.
 */
export class SyntheticAddresses {
  readonly #capacity: number;
  readonly #onName: ((name: string, position: number) => void) | undefined;
  readonly #names: string[] = [];
  readonly #pairs = new Map<string, AddressPair>();
  readonly #nameByAddress = new Map<string, string>();

  constructor(options: SyntheticOptions = {}) {
    this.#onName = options.onName;
    this.#capacity = Math.min(options.capacity ?? DEFAULT_SYNTHETIC_CAPACITY, MAX_SYNTHETIC_CAPACITY);
  }

  /**
   * Continues from a snapshot. Names in it keep their addresses also where they are more than the capacity.
   *
   * @throws SallyportError INTERNAL if it is not a snapshot
   */
  static restore(snapshot: unknown, options: SyntheticOptions = {}): SyntheticAddresses {
    const zone = new SyntheticAddresses(options);
    const { version, names } = (snapshot ?? {}) as { version?: unknown; names?: unknown };
    if (version !== 1 || !Array.isArray(names) || names.length > MAX_SYNTHETIC_CAPACITY) {
      throw damagedSnapshot();
    }
    for (const name of names as unknown[]) {
      if (typeof name !== 'string' || canonicalHost(name) !== name || zone.#pairs.has(name)) {
        throw damagedSnapshot();
      }
      zone.#add(name);
    }
    return zone;
  }

  /** How many names have addresses. */
  get size(): number {
    return this.#names.length;
  }

  /**
   * The addresses of a name, new ones if it has none yet.
   *
   * @param name in canonical form
   * @returns null when the name is new and the capacity is reached
   */
  addressesFor(name: string): AddressPair | null {
    const known = this.#pairs.get(name);
    if (known !== undefined) {
      return known;
    }
    if (this.#names.length >= this.#capacity) return null;
    try {
      this.#onName?.(name, this.#names.length);
    } catch {
      return null;
    }
    return this.#add(name);
  }

  /**
   * The name that an address stands for, or null if it stands for none.
   *
   * @param address as `socket.localAddress` gives it; an IPv4-mapped IPv6 address is the IPv4 address
   */
  nameOf(address: string): string | null {
    return this.#nameByAddress.get(withoutMapping(address)) ?? null;
  }

  /** What {@link SyntheticAddresses.restore} takes; plain JSON. */
  snapshot(): SyntheticSnapshot {
    return { version: 1, names: [...this.#names] };
  }

  #add(name: string): AddressPair {
    const pair = pairAt(this.#names.length);
    this.#names.push(name);
    this.#pairs.set(name, pair);
    this.#nameByAddress.set(pair.v4, name);
    this.#nameByAddress.set(pair.v6, name);
    return pair;
  }
}

/**
 * Whether an address is in the ranges that synthetic ones come from. One that is, and has no name, leads nowhere.
 *
 * @param address as `socket.localAddress` gives it
 */
export function isSyntheticAddress(address: string): boolean {
  const plain = withoutMapping(address);
  return plain.startsWith('198.18.') || plain.startsWith('198.19.') || plain.startsWith(V6_PREFIX);
}

function pairAt(index: number): AddressPair {
  const block = Math.floor(index / V4_PER_BLOCK);
  const v4 = `198.${18 + (block >>> 8)}.${block & 0xff}.${1 + (index % V4_PER_BLOCK)}`;
  const number = index + 1;
  const low = (number & 0xffff).toString(16);
  const v6 = number > 0xffff ? `${V6_PREFIX}:${(number >>> 16).toString(16)}:${low}` : `${V6_PREFIX}:${low}`;
  return { v4, v6 };
}

function withoutMapping(address: string): string {
  return address.startsWith(V4_MAPPED) ? address.slice(V4_MAPPED.length) : address;
}

function damagedSnapshot(): SallyportError {
  return new SallyportError(
    'INTERNAL',
    'The saved names of this sandbox are damaged; stop the sandbox and start it again',
  );
}
