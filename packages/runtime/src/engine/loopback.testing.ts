import net from 'node:net';
import tls from 'node:tls';
import type { AuditRecord } from '../audit/audit-record.ts';
import { TIME_LIMITS, type TimeLimits } from '../gate/limits.ts';
import { createNetworkPolicy, parseKeptRule, parseNetworkRule, type KeptRule } from '../policy/network-policy.ts';
import type { ServiceInput } from '../secrets/bound-service.ts';
import { createSecretSet, type SecretInput } from '../secrets/secret-set.ts';
import { parseLocations, parseResolve, parseSecretSpec } from '../secrets/secret-spec.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import { UpstreamTrust } from '../tls/upstream-trust.ts';
import type { ClientCertificate } from '../tls/client-certificate.ts';
import { bindCertificate } from './client-key.ts';
import { openGate, type GateParts, type GateRules, type OpenGate } from './open-gate.ts';

/** The placeholder of a variable in these tests. */
export function placeholderOf(env: string): string {
  return `sp_${env}_0123456789abcdefghijkl`;
}

export interface LoopbackOptions {
  readonly secrets?: readonly string[];
  readonly secretIn?: readonly string[];
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly tunnel?: readonly string[];
  /** Rules as they are stored. */
  readonly rules?: readonly KeptRule[];
  readonly resolve?: readonly string[];
  readonly upstreamCa?: string;
  readonly clientCertificates?: readonly ClientCertificate[];
  readonly timeLimits?: Partial<TimeLimits>;
  readonly closed?: GateRules['closed'];
  readonly services?: readonly ServiceInput[];
  /** What else is said of the secret of a variable. */
  readonly more?: Readonly<Record<string, Partial<SecretInput>>>;
  readonly provider?: GateParts['provider'];
  readonly signerFor?: NonNullable<GateParts['signerFor']>;
  readonly onTerminate?: NonNullable<GateParts['onTerminate']>;
}

/** A gate without namespaces: connections come over loopback, and the test says where each wanted to go. */
export interface LoopbackGate extends AsyncDisposable {
  readonly open: OpenGate;
  readonly events: AuditRecord[];
  readonly caPem: string;
  /** Takes other rules and secrets; what else the options say is left as it was. */
  reconfigure(options: LoopbackOptions): void;
  /** Connects as the sandbox would to `host:port` by name (or literal address). */
  connect(host: string, port: number): Promise<net.Socket>;
  /** The same with TLS; `servername` defaults to the host. */
  connectTls(host: string, port: number, options?: tls.ConnectionOptions): Promise<tls.TLSSocket>;
}

/** Compiles what a gate goes by. */
export function compileRules(options: LoopbackOptions): GateRules {
  const locations = parseLocations(options.secretIn ?? []);
  const inputs = (options.secrets ?? []).map((text) => {
    const spec = parseSecretSpec(text, locations);
    if (spec.kind !== 'bound' || spec.value === undefined) throw new TypeError('tests give the value');
    return { env: spec.env, value: spec.value, hosts: spec.hosts, ...options.more?.[spec.env] };
  });
  const secrets = createSecretSet({
    inputs,
    locations,
    plainNames: [],
    placeholderFor: placeholderOf,
    services: options.services ?? [],
  });
  const rulesFor = (action: KeptRule['action']) =>
    (options.rules ?? []).filter((rule) => rule.action === action).map((rule) => parseKeptRule(rule, null));
  const policy = createNetworkPolicy({
    secretHosts: [
      ...secrets.secrets.flatMap((secret) => secret.hosts.map((host) => ({ host, origin: `--secret ${secret.env}` }))),
      ...secrets.services.flatMap(({ name, endpoints }) =>
        endpoints.flatMap(({ hosts }) => hosts.map((host) => ({ host, origin: `service ${name}` }))),
      ),
      ...(options.clientCertificates ?? []).map(bindCertificate),
    ],
    allow: (options.allow ?? []).map((text) => parseNetworkRule('--allow', text)).concat(rulesFor('allow')),
    deny: (options.deny ?? []).map((text) => parseNetworkRule('--deny', text)).concat(rulesFor('deny')),
    tunnel: (options.tunnel ?? []).map((text) => parseNetworkRule('--tunnel', text)),
    resolve: (options.resolve ?? []).map((text) => parseResolve(text)),
  });
  return { policy, secrets, closed: options.closed ?? null };
}

export async function openLoopbackGate(options: LoopbackOptions): Promise<LoopbackGate> {
  const { policy, secrets, closed } = compileRules(options);
  const authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'test' });
  const events: AuditRecord[] = [];
  const open = openGate({
    policy,
    secrets,
    authority,
    trust: new UpstreamTrust({ source: 'test', systemPem: '', extraPem: options.upstreamCa ?? '' }),
    clientCertificates: options.clientCertificates ?? [],
    closed,
    provider: options.provider ?? null,
    ...(options.signerFor === undefined ? {} : { signerFor: options.signerFor }),
    ...(options.onTerminate === undefined ? {} : { onTerminate: options.onTerminate }),
    audit: { record: (event) => events.push(event) },
    timeLimits: { ...TIME_LIMITS, ...options.timeLimits },
  });
  const wanted: { address: string; port: number }[] = [];
  const front = net.createServer({ pauseOnConnect: true }, (socket) => {
    const original = wanted.shift();
    if (original === undefined) throw new TypeError('a connection without a destination');
    open.gate.accept(socket, original);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  const { port: frontPort } = front.address() as net.AddressInfo;
  const connect = async (host: string, port: number): Promise<net.Socket> => {
    const address = net.isIP(host) === 0 ? open.zone.addressesFor(host)?.v4 : host;
    if (address === undefined) throw new TypeError('the zone is full');
    wanted.push({ address, port });
    const socket = net.connect({ port: frontPort, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return socket;
  };
  return {
    open,
    events,
    caPem: authority.certificatePem,
    reconfigure: (changed) => open.reconfigure(compileRules(changed)),
    connect,
    async connectTls(host, port, tlsOptions = {}) {
      const raw = await connect(host, port);
      const secure = tls.connect({
        socket: raw,
        ca: authority.certificatePem,
        ...(net.isIP(host) === 0 ? { servername: host } : { host }),
        ...tlsOptions,
      });
      await new Promise((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject));
      return secure;
    },
    async [Symbol.asyncDispose]() {
      open.close();
      await new Promise((resolve) => front.close(resolve));
    },
  };
}

/** Everything that a socket receives until it ends, or until `until` is seen. */
export async function receive(socket: net.Socket, until?: string | ((text: string) => boolean)): Promise<string> {
  const isDone = typeof until === 'string' ? (text: string) => text.includes(until) : until;
  let text = '';
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk !== null) {
      text += chunk.toString('latin1');
      if (isDone?.(text) === true) return text;
      continue;
    }
    if (socket.readableEnded || socket.destroyed) return text;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        for (const event of ['readable', 'end', 'close', 'error']) socket.removeListener(event, settle);
        resolve();
      };
      for (const event of ['readable', 'end', 'close', 'error']) socket.on(event, settle);
    });
  }
}
