import type { NetworkPolicy } from '../policy/network-policy.ts';
import type { Redactor } from '../secrets/redact.ts';
import type { MessageSubstituter } from '../secrets/substitute-message.ts';
import type { SyntheticAddresses } from '../dns/synthetic-addresses.ts';
import type { LeafContexts } from '../tls/secure-contexts.ts';
import type { BodyStores } from './body-store.ts';
import type { Peek } from './client-hello.ts';
import type { Dialer } from './dialer.ts';
import type { TimeLimits } from './limits.ts';
import type { Problem } from './problem.ts';
import type { Recorder } from './record.ts';
import type { RequestContext } from './request-rewrite.ts';
import type { UpstreamPool } from './upstream-pool.ts';
import type { ValueProvider } from './value-provider.ts';

/** A monotonic clock that is read once for many events; good to {@link TimeLimits.sweepMs}. */
export interface CoarseClock {
  nowMs: number;
}

/** Everything that the gate of one sandbox consults. */
export interface GateContext extends RequestContext {
  readonly policy: NetworkPolicy;
  readonly zone: SyntheticAddresses;
  /** Null where this machine has no such thing. */
  readonly peek: Peek | null;
  readonly leafContexts: LeafContexts;
  /** Null when the sandbox has nothing that must not come back. */
  readonly redactor: Redactor | null;
  readonly messages: MessageSubstituter;
  /** Whether TLS is terminated: so while the sandbox has any placeholder secret. */
  readonly intercepts: boolean;
  /** Fetches values before requests need them; null when all are at hand. */
  readonly provider: ValueProvider | null;
  /** Ends the sandbox, because of what was done with the placeholder of that secret. */
  readonly terminate: (secret: string) => void;
  /** ms since 1970: signatures have a date. */
  readonly wallClockMs: () => number;
  /** What is answered to everything while the gate must let nothing through; null when it is open. */
  readonly closed: Problem | null;
  /** Where request bodies are kept until their length is known. */
  readonly bodyStores: BodyStores;
  readonly dialer: Dialer;
  readonly pool: UpstreamPool;
  readonly record: Recorder;
  readonly clock: CoarseClock;
  readonly timeLimits: TimeLimits;
}
