import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';

import { answerQuery } from './answer.ts';
import { encodeAnswer, parseQuery, udpLimit } from './message.ts';
import type { DnsEnvelope, DnsResponse, Rcode } from './message.ts';
import type { SyntheticAddresses } from './synthetic-addresses.ts';

/** How long an answer may be remembered: addresses never change, but the sandbox's resolver need not keep them for ever. */
const TTL_SECONDS = 60;
const NEGATIVE_TTL_SECONDS = 5;
/** A query with one question has about 300 bytes; with cookies and padding below 1 KiB. */
const MAX_QUERY_BYTES = 4096;
/** UDP responses that the kernel has not taken yet, in bytes; more are dropped, as a network would. */
const MAX_UDP_BACKLOG_BYTES = 1024 * 1024;
const MAX_TCP_CONNECTIONS = 64;
/** Unsent TCP responses of one connection, in bytes, above which no more of its queries are read. */
const MAX_TCP_BACKLOG_BYTES = 64 * 1024;
const TCP_IDLE_MS = 10_000;
/** The most that one TCP connection lives, so that one trickling bytes does not hold its place. */
const TCP_LIFE_MS = 120_000;
const TCP_LENGTH_BYTES = 2;
const TCP_MAX_RESPONSE_BYTES = 0xffff;
/** A sandbox that is out of addresses can ask thousands of times a second; one notice in this time is enough, in ms. */
const CAPACITY_NOTICE_INTERVAL_MS = 1000;

/** One question that was answered, for whoever wants to show it. */
export interface AnsweredQuery {
  /** The name as asked for, one character a byte, unchecked: quote it before it is shown. */
  readonly name: string;
  readonly type: number;
  readonly rcode: Rcode;
}

/** What a DNS server needs. */
export interface DnsServerOptions {
  readonly zone: SyntheticAddresses;
  /** A new name got no address because the zone is full; called once a second at most. */
  readonly onCapacity: (name: string) => void;
  readonly onQuery?: (query: AnsweredQuery) => void;
}

/**
 * The resolver of one sandbox. It answers from the synthetic zone and asks nobody.
 *
 * Sockets are made elsewhere (in the airlock's namespace) and attached here; attaching passes ownership, {@link DnsServer.close} closes them.
 * An attached UDP socket has to be bound to the gate's own address: a response leaves from the address that the socket is bound to.
 */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #udpSockets = new Set<UdpSocket>();
  readonly #tcpServers = new Set<Server>();
  readonly #connections = new Set<Socket>();
  #lastCapacityNoticeMs = -Infinity;
  #closed = false;

  constructor(options: DnsServerOptions) {
    this.#options = options;
  }

  /** Answers the datagrams that arrive on a bound socket. */
  attachUdp(socket: UdpSocket): void {
    this.#udpSockets.add(socket);
    // An error here is about one datagram (a client that is gone, say); the next one is answered all the same.
    socket.on('error', () => undefined);
    socket.on('message', (packet, from) => {
      if (this.#closed || socket.getSendQueueSize() > MAX_UDP_BACKLOG_BYTES) {
        return;
      }
      const response = this.#respond(packet, 'udp');
      if (response !== null) {
        socket.send(response, from.port, from.address, () => undefined);
      }
    });
  }

  /** Answers the connections that a listening server accepts (RFC 7766: two bytes of length before each message; pipelining). */
  attachTcp(server: Server): void {
    this.#tcpServers.add(server);
    server.on('error', () => undefined);
    server.on('connection', (socket) => this.#serve(socket));
  }

  /** Closes every socket that was attached and every connection. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#udpSockets) {
      socket.close();
    }
    for (const server of this.#tcpServers) {
      server.close();
    }
    for (const connection of this.#connections) {
      connection.destroy();
    }
    this.#udpSockets.clear();
    this.#tcpServers.clear();
  }

  #serve(socket: Socket): void {
    socket.on('error', () => undefined);
    if (this.#closed || this.#connections.size >= MAX_TCP_CONNECTIONS) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    const endOfLife = setTimeout(() => socket.destroy(), TCP_LIFE_MS);
    endOfLife.unref();
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(endOfLife);
      this.#connections.delete(socket);
    });
    // Between two events less than one message waits here: everything whole is answered at once.
    let pending: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const responses: Buffer[] = [];
      let offset = 0;
      while (pending.length - offset >= TCP_LENGTH_BYTES) {
        const length = pending.readUInt16BE(offset);
        if (length > MAX_QUERY_BYTES) {
          socket.destroy();
          return;
        }
        const end = offset + TCP_LENGTH_BYTES + length;
        if (end > pending.length) {
          break;
        }
        const response = this.#respond(pending.subarray(offset + TCP_LENGTH_BYTES, end), 'tcp');
        if (response === null) {
          socket.destroy();
          return;
        }
        const prefix = Buffer.alloc(TCP_LENGTH_BYTES);
        prefix.writeUInt16BE(response.length);
        responses.push(prefix, response);
        offset = end;
      }
      pending = Buffer.from(pending.subarray(offset));
      if (responses.length > 0) {
        socket.write(Buffer.concat(responses));
      }
      if (socket.writableLength > MAX_TCP_BACKLOG_BYTES) {
        socket.pause();
        socket.once('drain', () => socket.resume());
      }
    });
  }

  #respond(packet: Buffer, transport: 'udp' | 'tcp'): Buffer | null {
    const parsed = parseQuery(packet);
    switch (parsed.kind) {
      case 'drop':
        return null;
      case 'refuse':
        return encode(parsed.envelope, { rcode: parsed.rcode, answers: [], negative: false }, transport);
      case 'query': {
        const { response, capacityReached } = answerQuery(parsed, this.#options.zone);
        if (capacityReached !== null) {
          this.#noticeCapacity(capacityReached);
        }
        this.#options.onQuery?.({ name: parsed.labels.join('.'), type: parsed.type, rcode: response.rcode });
        return encode(parsed.envelope, response, transport);
      }
    }
  }

  #noticeCapacity(name: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastCapacityNoticeMs >= CAPACITY_NOTICE_INTERVAL_MS) {
      this.#lastCapacityNoticeMs = nowMs;
      this.#options.onCapacity(name);
    }
  }
}

function encode(envelope: DnsEnvelope, response: DnsResponse, transport: 'udp' | 'tcp'): Buffer {
  return encodeAnswer(envelope, response, {
    ttlSeconds: TTL_SECONDS,
    negativeTtlSeconds: NEGATIVE_TTL_SECONDS,
    maxBytes: transport === 'udp' ? udpLimit(envelope) : TCP_MAX_RESPONSE_BYTES,
  });
}
