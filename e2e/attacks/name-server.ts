import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** A DNS server of a test: an attacker's, who answers each time as he wants. */
export interface NameServer extends AsyncDisposable {
  readonly address: string;
  /** The names asked for, in order, one for each question (`A` and `AAAA` ask apart). */
  readonly questions: readonly string[];
}

const A = 1;
const AAAA = 28;

/** The bytes of an address. */
function encodeAddress(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (text: string): number[] =>
    text.split(':').filter(Boolean).flatMap((word) => {
      if (!word.includes('.')) return [Number.parseInt(word, 16)];
      const [a = 0, b = 0, c = 0, d = 0] = word.split('.').map(Number);
      return [a * 256 + b, c * 256 + d];
    }); // prettier-ignore
  const [first, last] = [words(head), words(tail ?? '')];
  const all = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  return Buffer.concat(all.map((word) => Buffer.from([word >> 8, word & 255])));
}

/** The name in a question, which begins at byte 12, and where it ends. */
function readName(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 5 };
}

/**
 * Serves DNS on port 53 of an address of the loopback network.
 *
 * @param answer the addresses of a name; `time` counts from 0 how often its A records were asked for before.
 */
export async function startNameServer(
  address: string,
  answer: (name: string, time: number) => readonly string[],
): Promise<NameServer> {
  const questions: string[] = [];
  const times = new Map<string, number>();
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address: from }) => {
    const { name, end } = readName(query);
    const type = query.readUInt16BE(end - 4);
    questions.push(name);
    const key = `${type} ${name}`;
    const time = times.get(key) ?? 0;
    times.set(key, time + 1);
    const wanted = answer(name, time).filter((one) => (one.includes(':') ? AAAA : A) === type);
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(wanted.length, 6);
    head.writeUInt32BE(0, 8);
    const records = wanted.map((one) => {
      const bytes = encodeAddress(one);
      // The question's name, this type, class IN, no time to live.
      return Buffer.concat([Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, bytes.length]), bytes]);
    });
    socket.send(Buffer.concat([head, query.subarray(12, end), ...records]), port, from);
  });
  socket.bind(53, address);
  await once(socket, 'listening');
  return {
    address,
    questions,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}
