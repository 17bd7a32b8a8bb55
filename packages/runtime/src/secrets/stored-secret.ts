/** Where a stored secret counts. In a sandbox its own scope goes before the global one. */
export type SecretScope =
  | { readonly kind: 'global' }
  /** The sandbox need not exist (yet). */
  | { readonly kind: 'sandbox'; readonly sandbox: string };

/**
 * - `service`: an entry of the catalogue, or of a kit, says where its value goes; the sandbox sees a sentinel;
 * - `custom`: bound to hosts; the sandbox sees a placeholder;
 * - `plain`: the sandbox sees the value, when it is asked for by name.
 */
export const SECRET_KINDS = ['service', 'custom', 'plain'] as const;
export type SecretKind = (typeof SECRET_KINDS)[number];

/** Where the value comes from. */
export type SecretSource =
  /** It is in a secret store. */
  | { readonly kind: 'value' }
  /** What this shell command prints on the host. */
  | { readonly kind: 'command'; readonly command: string }
  /** `op://…`, `vault://…`, `aws-sm://…`, `file:…` or `env:…`. */
  | { readonly kind: 'reference'; readonly reference: string };

/** What happens when a placeholder is met on its way to a host (or by a method, or on a path) that it is not for. */
export const VIOLATION_ACTIONS = ['pass', 'block', 'terminate'] as const;
export type ViolationAction = (typeof VIOLATION_ACTIONS)[number];

/** A stored secret, all but its value; plain JSON. */
export interface StoredSecret {
  readonly scope: SecretScope;
  /** Unique in its scope. A service's is the service's; else usually the variable's. */
  readonly name: string;
  readonly kind: SecretKind;
  /** The variable of the sandbox; null for a service, whose definition names its variables. */
  readonly env: string | null;
  /** As `--host` has them; empty but for `custom`. */
  readonly hosts: readonly string[];
  /** As `--secret-in` has them; empty but for `custom`. */
  readonly locations: readonly string[];
  /** The methods that it is for; empty for any. */
  readonly methods: readonly string[];
  /** The paths that it is for, a glob; null for any. */
  readonly path: string | null;
  readonly onViolation: ViolationAction;
  /** A placeholder of somebody's own design, `{rand}` included; null for the default. */
  readonly placeholder: string | null;
  readonly source: SecretSource;
  /** How long a value that was fetched is used, in ms; null: until an upstream refuses it. Without meaning for `value`. */
  readonly refreshMs: number | null;
  /** ms since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** As listings write it: `(global)` or the sandbox's name. */
export function formatScope(scope: SecretScope): string {
  return scope.kind === 'global' ? '(global)' : scope.sandbox;
}
