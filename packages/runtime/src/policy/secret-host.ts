import type { HostPattern } from './host-pattern.ts';

/** One destination that a secret is bound to. The port is never open: 443 or 80 where the spec gave none. */
export interface SecretHost {
  readonly scheme: 'https' | 'http';
  readonly pattern: HostPattern;
  readonly port: number;
}
