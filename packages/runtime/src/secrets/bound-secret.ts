import type { PathGlob } from '../policy/path-glob.ts';
import type { SecretHost } from '../policy/secret-host.ts';
import type { SecretValue } from './secret-value.ts';
import type { ViolationAction } from './stored-secret.ts';

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
  /** `SecretValue.UNKNOWN` while it has not been fetched: then a request that it belongs into fails. */
  readonly value: SecretValue;
  readonly hosts: readonly SecretHost[];
  readonly locations: readonly Location[];
  /** The methods that it is for, in upper case; any where omitted. */
  readonly methods?: readonly string[];
  /** The paths that it is for; any where omitted. */
  readonly path?: PathGlob;
  /** What happens when its placeholder is met where it is not for; `pass` where omitted. */
  readonly onViolation?: ViolationAction;
}
