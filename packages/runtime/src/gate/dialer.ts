import { lookup } from 'node:dns/promises';
import net from 'node:net';
import tls from 'node:tls';
import type { RelayInput } from './relay.ts';
import type { ErrorCode } from '@sallyport/sdk';
import { formatHostAndPort, isAddress } from '../policy/host-name.ts';
import { decideAddress, pinnedAddress, type NetworkPolicy } from '../policy/network-policy.ts';
import type { ClientCertificate } from '../tls/client-certificate.ts';
import { demandProof } from '../tls/server-proof.ts';
import { explainTlsError } from '../tls/tls-error.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import { watchForAlert } from './late-alert.ts';
import { CONNECT_TIMEOUT_MS, DIAL_TIMEOUT_MS, MAX_ADDRESSES_TRIED, MAX_REMEMBERED_SESSIONS } from './limits.ts';
import { adviceOf } from './problem.ts';
import type { SharedInput } from './shared-input.ts';

/** What to reach. `secure` asks for TLS with the certificate checked against `host`. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** The protocols offered by ALPN, in order of preference; for TLS only. */
  readonly protocols: readonly Protocol[];
  /** For cleartext that is relayed: the connection is paused, and what it reads goes there. */
  readonly input?: RelayInput;
  /** For HTTP/1: how the connection reads. */
  readonly reader?: SharedInput;
}

/** What an upstream speaks. */
export type Protocol = 'h2' | 'http/1.1';

export interface DialFailure {
  readonly outcome: 'failed';
  readonly code: ErrorCode;
  /** A sentence for people, free of peer-controlled text beyond what {@link explainTlsError} lets through. */
  readonly detail: string;
  readonly remedy?: string;
}

export type DialResult =
  | { readonly outcome: 'connected'; readonly socket: net.Socket; readonly protocol: Protocol }
  | DialFailure;

interface DialerOptions {
  readonly policy: NetworkPolicy;
  /** The trusted roots, shared by all connections. */
  readonly trust: UpstreamTrust;
  /** One at most for a host and port. */
  readonly clientCertificates?: readonly ClientCertificate[];
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/**
 * Step 4: reaches an upstream. It resolves the name itself, checks the class of every address and dials exactly the address that
 * it checked, so there is nothing to rebind between check and use.
 */
export class Dialer {
  #policy: NetworkPolicy;
  readonly #trust: UpstreamTrust;
  readonly #clientCertificates: ReadonlyMap<string, ClientCertificate>;
  /**
   * TLS sessions to resume, by authority; one each, as TLS 1.3 tickets are for single use. All of one authority were made with the same
   * roots and the same client certificate, or none: both are the sandbox's for its whole life, and so is this dialer.
   */
  readonly #sessions = new Map<string, Buffer>();

  constructor(options: DialerOptions) {
    this.#policy = options.policy;
    this.#trust = options.trust;
    this.#clientCertificates = new Map(
      options.clientCertificates?.map((certificate) => [
        formatHostAndPort(certificate.host, certificate.port),
        certificate,
      ]),
    );
  }

  /** Other rules, for what is dialled from now on. */
  usePolicy(policy: NetworkPolicy): void {
    this.#policy = policy;
  }

  /** Whether a client certificate is for exactly this canonical host and port, so that its TLS has to be terminated. */
  hasClientCertificate(host: string, port: number): boolean {
    return this.#clientCertificates.has(formatHostAndPort(host, port));
  }

  /** Connects, and never throws: a failure is data, since the client is told of it in words. */
  async dial(target: DialTarget): Promise<DialResult> {
    const endpoints = await this.#resolve(target);
    if ('outcome' in endpoints) return endpoints;
    let failure: DialFailure | undefined;
    const endMs = performance.now() + DIAL_TIMEOUT_MS;
    for (const endpoint of endpoints) {
      if (performance.now() >= endMs) break;
      const result = target.secure
        ? await this.#connectSecure(target, endpoint)
        : await connect(connectPlain(endpoint, target), target, 'connect');
      if (result.outcome === 'connected') {
        result.socket.setNoDelay(true);
        return result;
      }
      // The first failure names the cause; a certificate that is wrong is not shopped around for.
      failure ??= result;
      if (result.code === 'UPSTREAM_TLS_FAILED') break;
    }
    return failure ?? unresolved(target.host);
  }

  async #resolve(target: DialTarget): Promise<readonly Endpoint[] | DialFailure> {
    const pin = pinnedAddress(this.#policy, target.host, target.port);
    let addresses: string[];
    if (pin !== undefined) {
      addresses = [pin.address];
    } else if (isAddress(target.host)) {
      addresses = [target.host];
    } else {
      try {
        addresses = (await lookup(target.host, { all: true, order: 'verbatim' })).map((entry) => entry.address);
      } catch {
        return unresolved(target.host);
      }
    }
    const allowed: Endpoint[] = [];
    let refused: DialFailure | undefined;
    for (const address of addresses.slice(0, MAX_ADDRESSES_TRIED)) {
      const verdict = decideAddress(this.#policy, target.host, target.port, address);
      switch (verdict.verdict) {
        case 'allow':
          allowed.push({ address, port: pin?.addressPort ?? target.port });
          break;
        case 'deny':
          refused ??= {
            outcome: 'failed',
            code: 'ADDRESS_DENIED',
            detail: `${target.host} resolves to ${address}, which is refused (${verdict.rule}).`,
            remedy: adviceOf(verdict.remedy),
          };
          break;
        default:
          throw new TypeError(`unknown verdict ${String(verdict satisfies never)}`);
      }
    }
    if (allowed.length > 0) return allowed;
    return refused ?? unresolved(target.host);
  }

  async #connectSecure(target: DialTarget, endpoint: Endpoint): Promise<DialResult> {
    // A session belongs to the protocol that it was negotiated with.
    const key = `${target.host}:${target.port} ${target.protocols.join()}`;
    const session = this.#sessions.get(key);
    const certificate = this.#clientCertificates.get(formatHostAndPort(target.host, target.port));
    const { reader } = target;
    const options: tls.ConnectionOptions & tls.TLSSocketOptions & Pick<net.SocketConstructorOpts, 'onread'> = {
      host: endpoint.address,
      port: endpoint.port,
      // RFC 6066: no address in SNI; the certificate is then checked against the address.
      servername: isAddress(target.host) ? '' : target.host,
      checkServerIdentity: (_, certificate) => tls.checkServerIdentity(target.host, certificate),
      secureContext: certificate === undefined ? this.#trust.context() : certificate.context(this.#trust.pem),
      requestOCSP: certificate !== undefined,
      ALPNProtocols: [...target.protocols],
      // Explicit, so that no environment variable turns the check off.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(session === undefined ? {} : { session }),
      ...(reader === undefined ? {} : { onread: reader }),
    };
    const socket = tls.connect(options);
    reader?.attach(socket);
    const proof = certificate === undefined ? null : demandProof(socket, target.host);
    watchForAlert(socket, certificate?.origin ?? null);
    socket.on('session', (ticket: Buffer) => {
      if (this.#sessions.size >= MAX_REMEMBERED_SESSIONS) this.#sessions.clear();
      this.#sessions.set(key, ticket);
    });
    const result = await connect(socket, target, 'secureConnect', certificate?.origin ?? null);
    if (result.outcome === 'failed') {
      this.#sessions.delete(key);
    } else if (proof !== null && !proof.isGiven && !socket.isSessionReused()) {
      this.#sessions.delete(key);
      socket.destroy();
      return {
        outcome: 'failed',
        code: 'UPSTREAM_TLS_FAILED',
        detail: `${target.host}:${target.port} could not be checked before the client certificate was sent.`,
      };
    }
    return result;
  }
}

function connectPlain({ address, port }: Endpoint, { input, reader }: DialTarget): net.Socket {
  const options = { host: address, port, allowHalfOpen: true };
  if (input !== undefined) return net.connect({ ...options, onread: input }).pause();
  if (reader === undefined) return net.connect(options);
  const socket = net.connect({ ...options, onread: reader });
  reader.attach(socket);
  return socket;
}

function unresolved(host: string): DialFailure {
  return {
    outcome: 'failed',
    code: 'UPSTREAM_UNRESOLVED',
    detail: `The host name ${host} has no address that this machine can find.`,
    remedy:
      'Check the name and the resolver of the machine that runs Sallyport, or pin it: --resolve HOST:PORT:ADDRESS.',
  };
}

/** @param presented names the client certificate that the connection presents, if asked for one; null for none. */
function connect(
  socket: net.Socket,
  target: DialTarget,
  event: 'connect' | 'secureConnect',
  presented: string | null = null,
): Promise<DialResult> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      settle({
        outcome: 'failed',
        code: 'UPSTREAM_TIMEOUT',
        detail: `${target.host}:${target.port} did not complete the connection within ${CONNECT_TIMEOUT_MS / 1000} s.`,
      });
    }, CONNECT_TIMEOUT_MS);
    let tcpConnected = false;
    const onConnect = (): void => {
      tcpConnected = true;
    };
    const onReady = (): void => {
      settle({
        outcome: 'connected',
        socket,
        protocol: socket instanceof tls.TLSSocket && socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1',
      });
    };
    const onError = (error: NodeJS.ErrnoException): void => {
      settle(
        tcpConnected && target.secure
          ? {
              outcome: 'failed',
              code: 'UPSTREAM_TLS_FAILED',
              detail: `TLS with ${target.host}:${target.port} failed: ${explainTlsError(error, presented)}`,
            }
          : {
              outcome: 'failed',
              code: 'UPSTREAM_UNREACHABLE',
              detail: `${target.host}:${target.port} cannot be reached (${error.code ?? 'connection failed'}).`,
            },
      );
    };
    const onClose = (): void => {
      onError(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    };
    const settle = (result: DialResult): void => {
      clearTimeout(timer);
      socket.removeListener('connect', onConnect);
      socket.removeListener(event, onReady);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      if (result.outcome === 'failed') {
        socket.on('error', () => {
          // Already told; a late error of a discarded socket has no reader.
        });
        socket.destroy();
      }
      resolve(result);
    };
    if (event === 'secureConnect') socket.on('connect', onConnect);
    socket.on(event, onReady);
    socket.on('error', onError);
    socket.on('close', onClose);
  });
}
