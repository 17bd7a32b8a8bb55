import type { HostPattern } from '../policy/host-pattern.ts';
import type { SecretValue } from './secret-value.ts';

/** Where a placeholder may be replaced. `header` is any field; with `name` (lower case) just that one. */
export type Location =
  | { readonly kind: 'header'; readonly name?: string }
  | { readonly kind: 'basic' }
  | { readonly kind: 'query' }
  | { readonly kind: 'path' };

/** One destination that a secret is bound to. The port is never open: 443 or 80 where the spec gave none. */
export interface SecretHost {
  readonly scheme: 'https' | 'http';
  readonly pattern: HostPattern;
  readonly port: number;
}

/** A placeholder secret as the gate uses it. */
export interface BoundSecret {
  /** What audit events call it; never the value. */
  readonly name: string;
  /** The environment variable that holds the placeholder in the sandbox. */
  readonly env: string;
  readonly placeholder: string;
  readonly value: SecretValue;
  readonly hosts: readonly SecretHost[];
  readonly locations: readonly Location[];
}
