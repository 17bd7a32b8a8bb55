import { matchesName, type HostPattern } from './host-pattern.ts';
import { isAddress } from './host-name.ts';

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

/**
 * Values by host pattern. A look-up costs one map access for each label of the host, however many patterns there are;
 * only CIDR patterns are tried one by one, and only for addresses.
 */
export class HostIndex<T> {
  readonly #exact = new Map<string, T[]>();
  readonly #children = new Map<string, T[]>();
  readonly #descendants = new Map<string, T[]>();
  readonly #any: T[] = [];
  readonly #networks: { readonly pattern: HostPattern; readonly value: T }[] = [];

  add(pattern: HostPattern, value: T): void {
    switch (pattern.kind) {
      case 'exact':
        return append(this.#exact, pattern.host, value);
      case 'child':
        return append(this.#children, pattern.suffix, value);
      case 'descendant':
        return append(this.#descendants, pattern.suffix, value);
      case 'any':
        this.#any.push(value);
        return;
      case 'network':
        this.#networks.push({ pattern, value });
    }
  }

  /** The values of every pattern that covers a canonical host, the narrowest pattern first. Ports are the caller's. */
  *matching(host: string): Generator<T, undefined> {
    yield* this.#exact.get(host) ?? [];
    if (isAddress(host)) {
      for (const { pattern, value } of this.#networks) if (matchesName(pattern, host)) yield value;
      return;
    }
    let dot = host.indexOf('.');
    if (dot >= 0) yield* this.#children.get(host.slice(dot + 1)) ?? [];
    for (; dot >= 0; dot = host.indexOf('.', dot + 1)) yield* this.#descendants.get(host.slice(dot + 1)) ?? [];
    yield* this.#any;
  }
}
