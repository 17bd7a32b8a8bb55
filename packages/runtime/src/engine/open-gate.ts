import type { Server } from 'node:net';
import type { Socket as UdpSocket } from 'node:dgram';
import { originalDestination } from '../airlock/destination.ts';
import { systemCalls } from '../airlock/system-calls.ts';
import { DnsServer } from '../dns/server.ts';
import { SyntheticAddresses } from '../dns/synthetic-addresses.ts';
import { BodyStores } from '../gate/body-store.ts';
import type { Peek } from '../gate/client-hello.ts';
import { Dialer } from '../gate/dialer.ts';
import { Gate } from '../gate/gate.ts';
import type { GateContext } from '../gate/gate-context.ts';
import type { Problem } from '../gate/problem.ts';
import { TIME_LIMITS, type TimeLimits } from '../gate/limits.ts';
import { Recorder, type AuditSink } from '../gate/record.ts';
import { UpstreamPool } from '../gate/upstream-pool.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import { createViolationCheck } from '../gate/violation.ts';
import type { NetworkPolicy } from '../policy/network-policy.ts';
import { sentinelsOf, type BoundService } from '../secrets/bound-service.ts';
import { KnownValues } from '../secrets/known-values.ts';
import { Redactor, type RedactionRule } from '../secrets/redact.ts';
import { redactionRules } from '../secrets/redact-rules.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { Substituter } from '../secrets/substitute.ts';
import { MessageSubstituter } from '../secrets/substitute-message.ts';
import type { RequestSigner } from '../services/request-signer.ts';
import type { CertificateAuthority } from '../tls/certificate-authority.ts';
import type { ClientCertificate } from '../tls/client-certificate.ts';
import { LeafContexts } from '../tls/secure-contexts.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import { signerFor } from './request-signers.ts';

/** What the gate of one sandbox is made of. */
export interface GateParts {
  readonly policy: NetworkPolicy;
  readonly secrets: SecretSet;
  readonly authority: CertificateAuthority;
  readonly trust: UpstreamTrust;
  readonly clientCertificates?: readonly ClientCertificate[];
  readonly audit: AuditSink;
  /** Default: open. */
  readonly closed?: Problem | null;
  /** The names that a former gate of the sandbox gave addresses to. Default: none. */
  readonly zone?: SyntheticAddresses;
  /** Values that secrets of the sandbox had before; they are redacted as well. */
  readonly earlierValues?: readonly RedactionRule[];
  /** Fetches the values of secrets that are not at hand. Default: all are. */
  readonly provider?: ValueProvider | null;
  /** Signs for services that ask for it. Default {@link signerFor}. */
  readonly signerFor?: (service: BoundService) => RequestSigner;
  /** Looks at what has arrived on a socket; null for no such thing. Default: the system's, where there is a library for it. */
  readonly peek?: Peek | null;
  /** Ends the sandbox, because of what was done with the placeholder of that secret; called once. */
  readonly onTerminate?: (secret: string) => void;
  /** Default {@link TIME_LIMITS}. */
  readonly timeLimits?: TimeLimits;
}

/** The listening ends of an airlock. */
export interface ListeningEnds {
  readonly servers: ReadonlyMap<number, Server>;
  readonly dnsUdp: readonly UdpSocket[];
  readonly dnsTcp: readonly Server[];
}

/** A gate with its resolver. */
export interface OpenGate {
  readonly gate: Gate;
  readonly zone: SyntheticAddresses;
  /** Starts to serve what an airlock listens on. */
  serve(ends: Partial<ListeningEnds>): void;
  /** Takes other rules, all at once, for requests that begin from now on. What was a value is redacted for ever. */
  reconfigure(rules: GateRules): void;
  /** Takes other values of the same secrets and services, and leaves connections alone. */
  replaceSecrets(secrets: SecretSet): void;
  close(): void;
}

/** What can change while a gate is open. */
export interface GateRules {
  readonly policy: NetworkPolicy;
  readonly secrets: SecretSet;
  /** What is answered to everything; null for an open gate. */
  readonly closed: Problem | null;
  /** As in {@link GateParts}; the former one stays where omitted. */
  readonly provider?: ValueProvider | null;
}

type RulesContext = Pick<
  GateContext,
  | 'policy'
  | 'secrets'
  | 'substituter'
  | 'bodies'
  | 'messages'
  | 'redactor'
  | 'redacts'
  | 'intercepts'
  | 'violations'
  | 'provider'
  | 'closed'
>;

/** @param former the redactor of the gate, which goes on with other values, so that answers that have begun are redacted by them as well. */
function createRulesContext(
  { policy, secrets, closed, provider = null }: GateRules,
  values: KnownValues,
  former: Redactor | null = null,
): RulesContext {
  // What has been a secret stays one: its value may still come back.
  const redacted = redactionRules(values.rules());
  // A value that is not known yet may come back as soon as it is.
  const protects = redacted.length > 0 || secrets.secrets.length > 0 || secrets.services.length > 0;
  former?.replaceRules(redacted);
  return {
    policy,
    secrets,
    substituter: new Substituter(secrets.secrets, sentinelsOf(secrets.services)),
    bodies: new BodySubstituter(secrets.secrets),
    messages: new MessageSubstituter(secrets.secrets),
    redactor: former ?? (protects ? new Redactor(redacted) : null),
    redacts: protects,
    intercepts: protects,
    violations: createViolationCheck(secrets),
    provider,
    closed,
  };
}

function knownValues({ secrets, earlierValues = [] }: GateParts): KnownValues {
  const values = new KnownValues(earlierValues);
  values.add(secrets);
  return values;
}

function systemPeek(): Peek | null {
  try {
    const calls = systemCalls();
    return (descriptor, into) => calls.peek(descriptor, into);
  } catch {
    return null;
  }
}

/** Builds what the gate of one sandbox consults: the one place where its parts meet. */
export function createGateContext(parts: GateParts, values = knownValues(parts)): GateContext {
  const { policy, secrets, authority, trust, clientCertificates = [], audit, timeLimits = TIME_LIMITS } = parts;
  const clock = { nowMs: performance.now() };
  const dialer = new Dialer({ policy, trust, clientCertificates });
  let isTerminated = false;
  return {
    ...createRulesContext({ policy, secrets, closed: parts.closed ?? null, provider: parts.provider ?? null }, values),
    signerFor: parts.signerFor ?? signerFor,
    terminate: (secret) => {
      if (isTerminated) return;
      isTerminated = true;
      // The client's answer goes first.
      setImmediate(() => parts.onTerminate?.(secret));
    },
    wallClockMs: Date.now,
    zone: parts.zone ?? new SyntheticAddresses(),
    peek: parts.peek === undefined ? systemPeek() : parts.peek,
    leafContexts: new LeafContexts({ authority }),
    bodyStores: new BodyStores(),
    dialer,
    pool: new UpstreamPool(dialer, clock, timeLimits.upstreamIdleMs),
    record: new Recorder(audit),
    clock,
    timeLimits,
  };
}

/** Opens the gate of one sandbox and its resolver. */
export function openGate(parts: GateParts): OpenGate {
  const values = knownValues(parts);
  const context = createGateContext(parts, values);
  const { zone, record, dialer, pool } = context;
  let current = context;
  const gate = new Gate(context);
  const dns = new DnsServer({ zone, onCapacity: (name) => record.dnsCapacity(name) });
  return {
    gate,
    zone,
    serve(ends) {
      for (const server of ends.servers?.values() ?? []) {
        server.on('connection', (socket) => {
          const original = originalDestination(socket);
          if (original === undefined) socket.destroy();
          else gate.accept(socket, original);
        });
      }
      for (const socket of ends.dnsUdp ?? []) dns.attachUdp(socket);
      for (const server of ends.dnsTcp ?? []) dns.attachTcp(server);
    },
    reconfigure(rules) {
      values.add(rules.secrets);
      dialer.usePolicy(rules.policy);
      pool.retire();
      const { provider } = current;
      current = { ...context, ...createRulesContext({ provider, ...rules }, values, current.redactor) };
      gate.reconfigure(current);
    },
    replaceSecrets(secrets) {
      values.add(secrets);
      current = { ...context, ...createRulesContext({ ...current, secrets }, values, current.redactor) };
      gate.reconfigure(current);
    },
    close() {
      dns.close();
      gate.close();
    },
  };
}
