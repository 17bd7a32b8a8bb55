import type { SecretHost } from '../policy/secret-host.ts';
import type { SecretValue } from './secret-value.ts';

export type { SecretHost } from '../policy/secret-host.ts';

/** Where a placeholder may be replaced. `header` is any field; with `name` (lower case) just that one. */
export type Location =
  | { readonly kind: 'header'; readonly name?: string }
  | { readonly kind: 'basic' }
  | { readonly kind: 'query' }
  | { readonly kind: 'path' }
  /** Request bodies, by their content type. */
  | { readonly kind: 'body' }
  /** The client's WebSocket messages. */
  | { readonly kind: 'websocket' };

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
