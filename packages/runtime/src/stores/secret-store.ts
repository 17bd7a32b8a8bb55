/** Where values lie. */
export const STORE_KINDS = ['keychain', 'file', 'memory'] as const;
export type StoreKind = (typeof STORE_KINDS)[number];

/**
 * Keeps values under opaque keys (letters and digits). What a value is for is written elsewhere (secret-book.ts).
 *
 * Every method may fail with a SallyportError: STORE_LOCKED where somebody has to open the store first, STORE_CORRUPT where what is kept is
 * damaged, STORE_FAILED for anything else.
 */
export interface SecretStore {
  readonly kind: StoreKind;
  /** The value, a copy that belongs to the caller; null only where it is sure that there is none. */
  read(key: string): Promise<Uint8Array | null>;
  /** Keeps a value, of any bytes. It is durable when this is done; what was there before is replaced as a whole. */
  write(key: string, value: Uint8Array): Promise<void>;
  /** Whether there was one. */
  remove(key: string): Promise<boolean>;
  keys(): Promise<readonly string[]>;
  close(): Promise<void>;
}
