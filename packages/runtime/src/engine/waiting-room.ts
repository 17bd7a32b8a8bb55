import type { Socket as UdpSocket, RemoteInfo } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import type { ListeningEnds } from './open-gate.ts';

/** Connections and datagrams that are kept; a command that has just begun opens a few. What comes beyond is dropped. */
const MAX_WAITING = 512;

/**
 * Takes what arrives at an airlock's sockets before the gate serves them, so that the command can start while the gate's code is still
 * being loaded. Nothing is read, answered or passed on.
 */
export class WaitingRoom {
  readonly #waiting: { deliver(): void; drop(): void }[] = [];
  readonly #stops: (() => void)[] = [];

  constructor(ends: ListeningEnds) {
    for (const server of [...ends.servers.values(), ...ends.dnsTcp]) this.#watchServer(server);
    for (const socket of ends.dnsUdp) this.#watchUdp(socket);
  }

  /** Gives everything to whoever listens to the sockets by this time, in its order. */
  open(): void {
    this.#leave();
    for (const arrival of this.#waiting.splice(0)) arrival.deliver();
  }

  /** Drops everything. */
  close(): void {
    this.#leave();
    for (const arrival of this.#waiting.splice(0)) arrival.drop();
  }

  #watchServer(server: Server): void {
    const onConnection = (socket: Socket): void => {
      // A client that is gone before its turn is found by whoever reads.
      const onError = (): void => void socket.destroy();
      socket.on('error', onError);
      this.#keep({
        deliver: () => {
          socket.off('error', onError);
          if (!socket.destroyed) server.emit('connection', socket);
        },
        drop: () => void socket.destroy(),
      });
    };
    server.on('connection', onConnection);
    this.#stops.push(() => server.off('connection', onConnection));
  }

  #watchUdp(socket: UdpSocket): void {
    const onMessage = (packet: Buffer, from: RemoteInfo): void => {
      this.#keep({ deliver: () => void socket.emit('message', packet, from), drop: () => undefined });
    };
    socket.on('message', onMessage);
    this.#stops.push(() => socket.off('message', onMessage));
  }

  #keep(arrival: { deliver(): void; drop(): void }): void {
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(arrival);
    else arrival.drop();
  }

  #leave(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }
}
