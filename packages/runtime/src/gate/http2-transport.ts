import type net from 'node:net';
import { Http2Connection } from '../http2/connection.ts';
import type { Http2ConnectionOptions, Http2Output } from '../http2/types.ts';
import { MAX_UNSENT_BYTES } from './limits.ts';

/**
 * An HTTP/2 connection on its socket. All that both sides of the gate have to send in one turn of the event loop leaves in one write a
 * socket: frames of many streams, TLS records and system calls cost more than their bytes.
 */
export class Http2Transport implements Http2Output {
  readonly connection: Http2Connection;
  readonly #socket: net.Socket;

  /** Reads the socket from here on, and ends it with the connection. */
  constructor(socket: net.Socket, options: Omit<Http2ConnectionOptions, 'output'>) {
    this.#socket = socket;
    const connection = new Http2Connection({ ...options, output: this });
    this.connection = connection;
    socket.on('data', (chunk: Buffer) => {
      try {
        connection.receive(chunk);
      } catch {
        // A fault of the gate's own ends this connection and no other.
        socket.destroy();
      }
    });
    socket.on('drain', () => {
      connection.drained();
      socket.resume();
    });
    const gone = (): void => connection.receiveEnd();
    socket.on('end', gone);
    socket.on('close', gone);
    socket.on('error', () => socket.destroy());
    socket.resume();
  }

  write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (!socket.writable) return true;
    const flowing = socket.write(bytes);
    // Of a peer that asks without reading what it is answered, nothing more is read: answers that cannot leave would pile up here.
    if (socket.writableLength > MAX_UNSENT_BYTES) socket.pause();
    return flowing;
  }

  schedule(): void {
    scheduled.push(this);
    if (scheduled.length === 1) setImmediate(flushScheduled);
  }

  end(): void {
    this.#socket.end();
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Those that have something to send. One timer for all: what several sockets brought in one turn leaves together. */
let scheduled: Http2Transport[] = [];

function flushScheduled(): void {
  const transports = scheduled;
  scheduled = [];
  for (const { connection } of transports) connection.flush();
}
