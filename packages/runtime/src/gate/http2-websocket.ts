import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { removeHopByHop } from '../http/hop-by-hop.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { ConnectionSubstitution } from '../secrets/substitute-message.ts';
import type { Http2Stream } from '../http2/types.ts';
import { CLOSE_CODE } from '../websocket/frame.ts';
import type { Waiting } from './client-connection.ts';
import type { GateContext } from './gate-context.ts';
import type { Http2ClientConnection } from './http2-client-connection.ts';
import { responseFields } from './http2-fields.ts';
import { Http2StreamDuplex } from './http2-stream-duplex.ts';
import type { Problem } from './problem.ts';
import { redactHead } from './response-rewrite.ts';
import type { Lease } from './upstream-pool.ts';
import {
  acceptChoices,
  acceptSwitch,
  readExtendedConnect,
  removeHandshakeFields,
  type WebSocketOffer,
} from './websocket-handshake.ts';
import type { WebSocketEnd, WebSocketRelay } from './websocket-relay.ts';
import { openWebSocketSession } from './websocket-session.ts';

/** RFC 6455 section 4.1. */
const KEY_BYTES = 16;

/** An extended CONNECT: the opening handshake that it stands for, or why it is refused. */
export type ExtendedConnectVerdict =
  | { readonly verdict: 'websocket'; readonly head: RequestHead }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/** Reads an extended CONNECT (RFC 8441 section 4). `ends` tells that its stream ends with it. */
export function readTunnelRequest(head: RequestHead, protocol: string, ends: boolean): ExtendedConnectVerdict {
  if (head.method !== 'CONNECT' || ends) {
    const detail = ends ? 'The WebSocket handshake ends its stream.' : 'Only CONNECT names a protocol.';
    return { verdict: 'answer', problem: { status: 400, code: 'MALFORMED_REQUEST', detail } };
  }
  if (protocol.toLowerCase() !== 'websocket') {
    return {
      verdict: 'answer',
      problem: {
        status: 501,
        code: 'UPGRADE_NOT_SUPPORTED',
        detail: 'Extended CONNECT (RFC 8441) is taken for WebSocket alone, and this one names another protocol.',
      },
    };
  }
  return { verdict: 'websocket', head: readExtendedConnect(head, randomBytes(KEY_BYTES).toString('base64')) };
}

/** What tells of a WebSocket to the exchange that it came from. */
export interface Http2WebSocketOptions {
  readonly client: Http2ClientConnection;
  readonly stream: Http2Stream;
  readonly offer: WebSocketOffer;
  /** What the upstream speaks. */
  readonly protocol: Extract<Lease, { outcome: 'connected' }>['protocol'];
  readonly context: GateContext;
  /** The secrets that the handshake's method and path are for. */
  readonly bound: readonly BoundSecret[];
  /** The time limit starts anew. */
  readonly wait: (forWhat: Extract<Waiting, 'websocket' | 'websocket-close'>) => void;
  /** Called once: the relay writes nothing more. */
  readonly onEnd: (end: WebSocketEnd) => void;
  /** Called once: the client's stream is over in both directions. */
  readonly onOver: () => void;
}

/** What became of the upstream's answer to a handshake. */
export type Http2SwitchVerdict =
  | { readonly verdict: 'ok'; readonly webSocket: Http2WebSocket }
  | { readonly verdict: 'malformed'; readonly reason: string };

/** A WebSocket on a stream of HTTP/2 (RFC 8441), whatever the upstream speaks. */
export class Http2WebSocket {
  /** Redactions in the answer to the handshake. */
  readonly #headRedactions: number;
  readonly #client: Http2StreamDuplex;
  readonly #relay: WebSocketRelay;
  readonly #substitution: ConnectionSubstitution | null;

  /** Checks and redacts the upstream's answer, passes it on, and relays from then on. */
  static open(head: ResponseHead, upstream: Duplex, options: Http2WebSocketOptions): Http2SwitchVerdict {
    const { redactor } = options.context;
    const outgoing: ResponseHead = { ...head, status: 200, fields: [...head.fields] };
    removeHopByHop(outgoing.fields);
    const redactions = redactor === null ? 0 : redactHead(outgoing, redactor);
    const check = options.protocol === 'h2' ? acceptChoices : acceptSwitch;
    const accepted = check(head, outgoing.fields, options.offer);
    if (accepted.verdict === 'malformed') return accepted;
    removeHandshakeFields(outgoing.fields);
    options.stream.sendHead(responseFields(outgoing));
    return { verdict: 'ok', webSocket: new Http2WebSocket(upstream, accepted.compression, redactions, options) };
  }

  private constructor(
    upstream: Duplex,
    compression: boolean,
    redactions: number,
    { client, stream, context, bound, wait, onEnd, onOver }: Http2WebSocketOptions,
  ) {
    this.#headRedactions = redactions;
    const duplex = new Http2StreamDuplex(stream, onOver);
    this.#client = duplex;
    let hasEnded = false;
    const session = openWebSocketSession(context, {
      client: duplex,
      upstream,
      compression,
      authority: client.purpose.origin,
      bound,
      wait,
      onEnd: (end) => {
        hasEnded = true;
        onEnd(end);
      },
    });
    this.#relay = session.relay;
    this.#substitution = session.substitution;
    duplex.on('data', (chunk: Buffer) => this.#relay.clientData(chunk));
    duplex.on('drain', () => this.#relay.clientDrain());
    duplex.on('end', () => this.#relay.clientEnd());
    // Once all that came has been read, or at once where it was cut off.
    duplex.on('close', () => {
      if (!hasEnded) this.#relay.clientGone();
    });
  }

  /** Takes what came on the upstream's side with its answer. */
  upstreamEarly(rest: Buffer): void {
    this.#relay.upstreamEarly(rest);
  }

  /** Bytes received from the client. */
  get sentBytes(): number {
    return this.#relay.sentBytes;
  }

  /** Bytes given to the client. */
  get receivedBytes(): number {
    return this.#relay.receivedBytes;
  }

  /** Values that were found and replaced. */
  get redactions(): number {
    return this.#headRedactions + this.#relay.redactions;
  }

  /** Names of the secrets put into messages. */
  get released(): Iterable<string> | undefined {
    return this.#substitution?.released;
  }

  /** Names of secrets whose placeholder stayed in a message. */
  get stray(): Iterable<string> | undefined {
    return this.#substitution?.stray;
  }

  /** Ends our side of the client's stream. */
  end(): void {
    if (!this.#client.writableEnded) this.#client.end();
  }

  /** A time limit has passed. */
  expire(waiting: Waiting): void {
    const end: WebSocketEnd =
      waiting === 'websocket-close'
        ? { decision: 'allow', code: null }
        : { decision: 'error', code: 'WEBSOCKET_TIMEOUT' };
    this.#relay.close(end, CLOSE_CODE.goingAway, 'nothing was sent within the time limit');
  }
}
