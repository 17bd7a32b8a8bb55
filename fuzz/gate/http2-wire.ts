import http2 from 'node:http2';
import { Duplex } from 'node:stream';

/** A header list: pairs of name and value, as Latin-1. */
export type Pair = [name: string, value: string];

/** One stream as a client sends it, however odd. */
export type WireStream = {
  readonly fields: Pair[];
  readonly body: string;
  /** Null for none. */
  readonly trailers: Pair[] | null;
  /** The header block is cut into this many frames. */
  readonly frames: number;
};

/** What came back on one stream; Latin-1. */
export interface WireAnswer {
  readonly status: number | null;
  /** All names and values, of interim responses and trailers too. */
  readonly text: string;
  readonly body: string;
}

const TYPE = { data: 0, headers: 1, continuation: 9 } as const;
const FLAG = { endStream: 1, endHeaders: 4 } as const;
const FRAME_HEAD_BYTES = 9;
const MAX_FRAME_BYTES = 16_384;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A string literal of HPACK without Huffman coding (RFC 7541 section 5.2). */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) {
    length.push(bytes.length);
  } else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

function headerFrames(fields: readonly Pair[], stream: number, frames: number, ends: boolean): Buffer[] {
  // Literals without indexing, never indexed, and with indexing, in turn.
  const block = Buffer.concat(
    fields.flatMap(([name, value], index) => [
      Buffer.of([0x00, 0x10, 0x40][index % 3]!),
      literal(name),
      literal(value),
    ]),
  );
  const size = Math.min(MAX_FRAME_BYTES, Math.max(1, Math.ceil(block.length / Math.max(1, frames))));
  const result: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += size) {
    const isLast = at + size >= block.length;
    const flags = (isLast ? FLAG.endHeaders : 0) | (at === 0 && ends ? FLAG.endStream : 0);
    result.push(frame(at === 0 ? TYPE.headers : TYPE.continuation, flags, stream, block.subarray(at, at + size)));
  }
  return result;
}

function streamFrames({ fields, body, trailers, frames }: WireStream, stream: number): Buffer {
  const endsWithHead = body === '' && trailers === null;
  const result = headerFrames(fields, stream, frames, endsWithHead);
  if (body !== '')
    result.push(frame(TYPE.data, trailers === null ? FLAG.endStream : 0, stream, Buffer.from(body, 'latin1')));
  if (trailers !== null) result.push(...headerFrames(trailers, stream, 1, true));
  return Buffer.concat(result);
}

/**
 * A client of HTTP/2 that sends header lists no client library would: Node's own client, whose HEADERS frames are replaced on the way out.
 * So the settings, windows and the reading of what comes back are nghttp2's.
 *
 * Resolves when every stream has closed or the connection has ended, or after `limitMs`.
 */
export function sendStreams(socket: Duplex, streams: readonly WireStream[], limitMs: number): Promise<WireAnswer[]> {
  let pending: Buffer = Buffer.alloc(0);
  let isPrefaceSent = false;
  const wire = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      pending = Buffer.concat([pending, chunk]);
      const out: Buffer[] = [];
      if (!isPrefaceSent && pending.length >= 24) {
        out.push(pending.subarray(0, 24));
        pending = pending.subarray(24);
        isPrefaceSent = true;
      }
      while (isPrefaceSent && pending.length >= FRAME_HEAD_BYTES) {
        const end = FRAME_HEAD_BYTES + pending.readUIntBE(0, 3);
        if (pending.length < end) break;
        const id = pending.readUInt32BE(5) & 0x7fff_ffff;
        const given = pending.readUInt8(3) === TYPE.headers ? streams[(id - 1) / 2] : undefined;
        out.push(given === undefined ? pending.subarray(0, end) : streamFrames(given, id));
        pending = pending.subarray(end);
      }
      if (out.length > 0 && socket.writable) socket.write(Buffer.concat(out));
      done();
    },
    final(done) {
      socket.end();
      done();
    },
  });
  socket.on('data', (chunk: Buffer) => wire.push(chunk));
  socket.on('end', () => wire.push(null));
  socket.on('error', () => wire.destroy());
  socket.on('close', () => wire.destroy());
  wire.on('error', () => undefined);
  const session = http2.connect('http://wire', { createConnection: () => wire });
  session.on('error', () => undefined);
  const answers = streams.map(
    () =>
      new Promise<WireAnswer>((resolve) => {
        let status: number | null = null;
        let text = '';
        const body: Buffer[] = [];
        const note = (_headers: unknown, _flags: unknown, raw: string[]): void => void (text += `${raw.join('\n')}\n`);
        const stream = session.request({ ':path': '/' }, { endStream: true });
        stream.on('response', (headers: http2.IncomingHttpHeaders, flags: number, raw: string[]) => {
          status = Number(headers[':status']);
          note(headers, flags, raw);
        });
        stream.on('headers', note);
        stream.on('trailers', note);
        stream.on('data', (chunk: Buffer) => body.push(chunk));
        stream.on('error', () => undefined);
        stream.on('close', () => resolve({ status, text, body: Buffer.concat(body).toString('latin1') }));
      }),
  );
  const timer = setTimeout(() => session.destroy(), limitMs);
  return Promise.all(answers).finally(() => {
    clearTimeout(timer);
    session.destroy();
    socket.destroy();
  });
}
