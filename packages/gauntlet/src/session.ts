import type { Client, ExchangeAnswer } from './client.ts';
import type { SeededRandom } from './canary.ts';
import { readResponses } from './message-reader.ts';
import type { LenientMessage } from './message-reader.ts';
import type { Responder, UpstreamConnection, UpstreamRequest, Upstreams } from './upstreams.ts';

/** How the client half reaches the gate. */
export type Reach =
  /** The room's own network leads to it. */
  | { readonly kind: 'direct' }
  | { readonly kind: 'proxy'; readonly host: string; readonly port: number }
  /** By the destination's `HOST:PORT`: where to connect instead. */
  | {
      readonly kind: 'transparent';
      readonly addresses: ReadonlyMap<string, { readonly host: string; readonly port: number }>;
    };

/** What is known of the gate and its credential. */
export interface Target {
  readonly reach: Reach;
  readonly bound: string;
  readonly unbound: string;
  readonly placeholder: string;
  /** The value of `placeholder`, bound to `bound`. */
  readonly value: string;
  /** A second secret, bound to the unbound host. */
  readonly second?: { readonly placeholder: string; readonly value: string } | undefined;
  /** The root that the client trusts, PEM; default: what its environment tells it to. */
  readonly ca?: string | undefined;
}

/** A connection that an attack makes. */
export interface ExchangePlan {
  readonly to: 'bound' | 'unbound';
  /** Instead of that host's name: what is dialed, or asked of the proxy. */
  readonly name?: string;
  /** Default 443, or 80 in clear. */
  readonly port?: number;
  /** `false`: in clear. Default true. */
  readonly secure?: boolean;
  /** Default: the host's name; `null`: none. */
  readonly sni?: string | null;
  readonly alpn?: readonly string[];
  readonly verify?: boolean;
  readonly send: readonly (string | Buffer | { readonly data: string | Buffer; readonly delayMs: number })[];
  readonly idleMs?: number;
  readonly firstByteMs?: number;
  readonly totalMs?: number;
  readonly keepBytes?: number;
}

/** How it went. */
export interface Exchange {
  readonly plan: ExchangePlan;
  readonly stage: ExchangeAnswer['stage'];
  readonly end: string;
  readonly alpn: string | null;
  readonly received: Buffer;
  readonly receivedBytes: number;
  readonly responses: readonly LenientMessage[];
}

const FIRST_BYTE_MS = 1_500;
const IDLE_MS = 250;
const TOTAL_MS = 8_000;
const KEEP_BYTES = 4 * 1024 * 1024;

/** What one attack works with; everything that it did and caused is recorded for the judge. */
export class Session {
  readonly exchanges: Exchange[] = [];
  readonly findings: string[] = [];
  readonly #client: Client;
  readonly #upstreams: Upstreams;
  readonly #target: Target;
  readonly #signal: AbortSignal;
  readonly random: SeededRandom;

  constructor(options: {
    readonly client: Client;
    readonly upstreams: Upstreams;
    readonly target: Target;
    readonly random: SeededRandom;
    readonly signal: AbortSignal;
  }) {
    this.#client = options.client;
    this.#upstreams = options.upstreams;
    this.#target = options.target;
    this.#signal = options.signal;
    this.random = options.random;
    options.upstreams.reset(undefined, ['http/1.1']);
  }

  get target(): Target {
    return this.#target;
  }

  get connections(): readonly UpstreamConnection[] {
    return this.#upstreams.connections;
  }

  get requests(): readonly UpstreamRequest[] {
    return this.#upstreams.requests;
  }

  get unboundPort(): number {
    return this.#upstreams.ports['unbound-tls'];
  }

  /** Sets how the upstreams answer, and which protocols they offer. */
  answer(responder: Responder | undefined, protocols: readonly string[] = ['http/1.1']): void {
    this.#upstreams.reset(responder, protocols);
  }

  /** Adds a finding that the judge cannot see by itself. */
  find(finding: string): void {
    this.findings.push(finding);
  }

  /**
   * A request with the placeholder in `X-Api-Key`, as text.
   *
   * @param lines Field lines instead of `Host`; give it too where it is wanted.
   */
  request(
    path: string,
    options: {
      readonly to?: 'bound' | 'unbound';
      readonly method?: string;
      readonly lines?: readonly string[];
      readonly secure?: boolean;
      readonly body?: string;
      readonly keepAlive?: boolean;
      readonly version?: string;
    } = {},
  ): string {
    const { to = 'bound', method = 'GET', lines = [`Host: ${this.#target[to]}`], secure = true } = options;
    const isAbsolute = !secure && this.#target.reach.kind === 'proxy' && path.startsWith('/');
    const target = isAbsolute ? `http://${this.#target[to]}${path}` : path;
    return [
      `${method} ${target} ${options.version ?? 'HTTP/1.1'}`,
      ...lines,
      `X-Api-Key: ${this.#target.placeholder}`,
      ...(options.keepAlive === true ? [] : ['Connection: close']),
      ...(options.body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(options.body)}`]),
      '',
      options.body ?? '',
    ].join('\r\n');
  }

  /** Makes a connection through the gate and sends. Failing to connect is an answer, not an error. */
  async exchange(plan: ExchangePlan): Promise<Exchange> {
    const host = plan.name ?? this.#target[plan.to];
    const secure = plan.secure !== false;
    const port = plan.port ?? (secure ? 443 : 80);
    const answer = await this.#client.exchange(
      {
        ...this.#dial(host, port, secure),
        ...(secure
          ? {
              tls: {
                sni: plan.sni === undefined ? this.#target[plan.to] : plan.sni,
                alpn: plan.alpn ?? ['http/1.1'],
                verify: plan.verify ?? false,
                ...(this.#target.ca === undefined ? {} : { ca: this.#target.ca }),
              },
            }
          : {}),
        send: plan.send.map((step) => {
          const { data, delayMs } =
            typeof step === 'string' || Buffer.isBuffer(step) ? { data: step, delayMs: 0 } : step;
          return { data: Buffer.from(data).toString('base64'), delayMs };
        }),
        firstByteMs: plan.firstByteMs ?? FIRST_BYTE_MS,
        idleMs: plan.idleMs ?? IDLE_MS,
        totalMs: plan.totalMs ?? TOTAL_MS,
        keepBytes: plan.keepBytes ?? KEEP_BYTES,
      },
      this.#signal,
    );
    const received = Buffer.from(answer.received, 'base64');
    const { stage, end, alpn, receivedBytes } = answer;
    const responses = alpn === 'h2' ? [] : readResponses(received);
    const exchange: Exchange = { plan, stage, end, alpn, received, receivedBytes, responses };
    this.exchanges.push(exchange);
    return exchange;
  }

  /** What a program sees around itself where the client half runs. */
  async look(): Promise<readonly { readonly where: string; readonly data: Buffer }[]> {
    const { places } = await this.#client.look(this.#signal);
    return places.map(({ where, data }) => ({ where, data: Buffer.from(data, 'base64') }));
  }

  /** Whether an honest request still gets its answer. */
  async isAlive(): Promise<boolean> {
    const { responses } = await this.exchange({ to: 'bound', send: [this.request('/alive')], firstByteMs: 4_000 });
    return responses.some(({ startLine }) => startLine.includes(' 200'));
  }

  #dial(host: string, port: number, secure: boolean): { host: string; port: number; proxyTarget?: string } {
    const { reach } = this.#target;
    switch (reach.kind) {
      case 'direct':
        return { host, port };
      case 'proxy': {
        const isBare = host.includes(':') && !host.startsWith('[') && !host.includes('@') && !host.includes('://');
        const name = isBare ? `[${host}]` : host;
        return { host: reach.host, port: reach.port, ...(secure ? { proxyTarget: `${name}:${port}` } : {}) };
      }
      case 'transparent':
        return reach.addresses.get(`${host}:${port}`) ?? { host, port };
    }
  }
}
