import net from 'node:net';

import { base64Alignments, findCanary } from '../../e2e/harness/canary.ts';
import {
  openLoopbackGate,
  placeholderOf,
  type LoopbackGate,
} from '../../packages/runtime/src/engine/loopback.testing.ts';

/** A host that a secret may go to in clear. */
export const BOUND_HOST = 'bound.example';
/** A host that is allowed and gets no secret. */
export const FREE_HOST = 'free.example';

/** Values that some encoding has to escape, and plain ones. */
export const CANARIES = {
  /** Goes to {@link BOUND_HOST}. */
  CLEAR: 'ghp_Zq8vX2mWc7Lr0Tn5Yb3Kd9Jf6Hs1Pg4aEuV',
  /** Bound to the same name over TLS alone: it never goes out in clear. */
  SECURE: 'kq7+/="\\%&Zr3 ;,x<M>9w{b}4T|n^2c~z',
} as const;

export const PLACEHOLDERS = { CLEAR: placeholderOf('CLEAR'), SECURE: placeholderOf('SECURE') } as const;

/** The forms in which a text holds a canary, with its name; empty when it holds none. */
export function canariesIn(data: string | Buffer, names: readonly (keyof typeof CANARIES)[]): string[] {
  return names.flatMap((name) =>
    findCanary({ value: CANARIES[name] }, data)
      .filter((form) => !form.startsWith('base64') || isWholeInBase64(data, CANARIES[name]))
      .map((form) => `${name} ${form}`),
  );
}

/** `findCanary` is content with all but the last bits of a value in base64, as is left where text was cut; promised is the whole value. */
function isWholeInBase64(data: string | Buffer, value: string): boolean {
  const bytes = Buffer.from(value);
  const text = (typeof data === 'string' ? data : data.toString('latin1')).replaceAll('+', '-').replaceAll('/', '_');
  return base64Alignments(bytes).some((run, shift) => {
    const wanted = run.replaceAll('+', '-').replaceAll('/', '_');
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
      // One character before and one behind hold the value's first and last bits too.
      const before = shift === 0 ? '' : 'A'.repeat(shift) + text.slice(Math.max(0, at - 1), at);
      const quanta = before + text.slice(at, at + wanted.length + 1);
      if (Buffer.from(quanta, 'base64url').includes(bytes)) return true;
    }
    return false;
  });
}

/** Puts the placeholders where the canaries are written as they are, or percent-encoded as targets have them. */
export function withPlaceholders(text: string): string {
  return (['CLEAR', 'SECURE'] as const).reduce(
    (rest, name) =>
      rest
        .replaceAll(CANARIES[name], PLACEHOLDERS[name])
        .replaceAll(encodeURIComponent(CANARIES[name]), PLACEHOLDERS[name]),
    text,
  );
}

/** A gate on loopback with an upstream that records what reaches it, connection by connection. */
export interface Lane {
  readonly gate: LoopbackGate;
  /** What reached the upstream since the case began, by connection; each begins between messages. */
  readonly reached: Map<net.Socket, Buffer[]>;
  /** Forgets what the case before left behind. */
  begin(): void;
  close(): Promise<void>;
}

/** Opens a lane in clear; the handler gets each connection of the upstream. */
export async function openLane(onConnection: (socket: net.Socket) => void): Promise<Lane> {
  const reached = new Map<net.Socket, Buffer[]>();
  const open = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    onConnection(socket);
    // After the handler: Node's HTTP server would otherwise read past other listeners.
    socket.on('data', (chunk: Buffer) => {
      const chunks = reached.get(socket);
      if (chunks === undefined) reached.set(socket, [chunk]);
      else chunks.push(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const gate = await openLoopbackGate({
    secrets: [`CLEAR=${CANARIES.CLEAR}@http://${BOUND_HOST}`, `SECURE=${CANARIES.SECURE}@${BOUND_HOST}`],
    secretIn: ['header,basic,query,path,body'],
    allow: [BOUND_HOST, FREE_HOST],
    resolve: [`${BOUND_HOST}:80:127.0.0.1:${port}`, `${FREE_HOST}:80:127.0.0.1:${port}`],
  });
  return {
    gate,
    reached,
    begin() {
      gate.events.length = 0;
      reached.clear();
    },
    async close() {
      await gate[Symbol.asyncDispose]();
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** How long a connection through the gate may take, in ms, before that is a fault in itself. */
const CONNECTION_LIMIT_MS = 8000;

/**
 * Sends pieces on a connection, ends that side, and reads to the end.
 *
 * @returns What came back as Latin-1; null when the connection did not end.
 */
export async function converse(socket: net.Socket, pieces: readonly Buffer[]): Promise<string | null> {
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  socket.on('error', () => undefined);
  const closed = new Promise<boolean>((resolve) => {
    socket.on('end', () => resolve(true));
    socket.on('close', () => resolve(true));
    setTimeout(() => resolve(false), CONNECTION_LIMIT_MS).unref();
  });
  socket.setNoDelay(true);
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await new Promise((resolve) => setImmediate(resolve));
    if (socket.writable) socket.write(piece);
  }
  socket.end();
  const isOver = await closed;
  socket.destroy();
  return isOver ? Buffer.concat(received).toString('latin1') : null;
}

/** Asks again for a while, since audit events and upstream bytes may come a little after the client's last byte. */
export async function settle(judge: () => Promise<string | null>): Promise<string | null> {
  for (const delayMs of [0, 2, 10, 50, 200, 500]) {
    if (delayMs === 0) await new Promise((resolve) => setImmediate(resolve));
    else await new Promise((resolve) => setTimeout(resolve, delayMs));
    const problem = await judge();
    if (problem === null || delayMs === 500) return problem;
  }
  return null;
}
