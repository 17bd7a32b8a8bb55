import type { ErrorCode } from '@sallyport/sdk';
import type { OpenDoor } from '../airlock/listeners.ts';
import type { Problem } from '../gate/problem.ts';
import type { Authority } from '../http/message.ts';
import type { TransferredSecrets } from '../secrets/secret-set-transfer.ts';
import type { SavedAuthority } from '../tls/certificate-authority.ts';
import type { SavedClientCertificate } from '../tls/client-certificate.ts';
import type { GateTraffic } from './sandbox-gate.ts';
import type { PolicySources } from './sandbox-parts.ts';

/** The rules of a gate as plain data; the thread compiles the policy itself. */
export interface RulesMessage {
  readonly sources: Omit<PolicySources, 'secrets'>;
  readonly secrets: TransferredSecrets;
  readonly closed: Problem | null;
  /** Whether values have to be asked for before a request needs them. */
  readonly asks: boolean;
}

/** What upstreams are verified against. */
export interface TrustMessage {
  readonly source: string;
  readonly systemPem: string;
  readonly extraPem: string;
}

/** Everything that a gate in another thread is made of. */
export interface OpenMessage {
  readonly name: string;
  readonly rules: RulesMessage;
  readonly authority: SavedAuthority;
  /** Null for the same as the last that was sent. */
  readonly trust: TrustMessage | null;
  readonly clientCertificates: readonly SavedClientCertificate[];
  readonly names: readonly string[];
  readonly auditFile: string;
  readonly stateDirectory: string;
  readonly endedThread: number | undefined;
  readonly doors: readonly OpenDoor[];
}

/** What a thread of gates is asked to do about one of them. */
export type GateTask =
  | { readonly kind: 'open'; readonly open: OpenMessage }
  | { readonly kind: 'serve'; readonly doors: readonly OpenDoor[] }
  | { readonly kind: 'reconfigure'; readonly rules: RulesMessage }
  | { readonly kind: 'secrets'; readonly secrets: TransferredSecrets }
  | { readonly kind: 'traffic' }
  | { readonly kind: 'close' }
  | { readonly kind: 'end' };

/** What the thread of gates asks about one of them. */
export type GateQuestion =
  /** Values that requests to an authority may need; answered with `Problem | null`, after any values that were fetched. */
  | { readonly kind: 'prepare'; readonly authority: Authority }
  /** An upstream has answered 401; answered with whether a value will be fetched anew. */
  | { readonly kind: 'refused'; readonly names: readonly string[] };

/** From the daemon's thread to that of gates; `gate` says which, `call` comes back with the answer. */
export type ToGateThread =
  | { readonly kind: 'task'; readonly gate: number; readonly call: number; readonly task: GateTask }
  | { readonly kind: 'answer'; readonly call: number; readonly answer: Problem | boolean | null };

/** How a name that gets an address was kept: the thread waits at this word of shared memory, so that no client knows the address before. */
export const NAME_STATES = { waiting: 0, kept: 1, refused: 2 } as const;

/** From the thread of gates to the daemon's. */
export type FromGateThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly call: number; readonly result: GateTraffic | null }
  /** `code` is null for a defect, whose text could quote what it was given. */
  | { readonly kind: 'failed'; readonly call: number; readonly code: ErrorCode | null; readonly message: string }
  | { readonly kind: 'question'; readonly gate: number; readonly call: number; readonly question: GateQuestion }
  | {
      readonly kind: 'name';
      readonly gate: number;
      readonly name: string;
      readonly position: number;
      readonly state: Int32Array;
    }
  | { readonly kind: 'audit failure'; readonly gate: number }
  | { readonly kind: 'terminate'; readonly gate: number; readonly secret: string };
