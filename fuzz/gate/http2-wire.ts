import http2 from 'node:http2';
import { Duplex } from 'node:stream';

import { literalBlock } from './hpack.ts';

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

export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
const PREFACE_BYTES = 24;
const FRAME_HEAD_BYTES = 9;
const MAX_FRAME_BYTES = 16_384;

/** One frame (RFC 9113 section 4.1). */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function headerFrames(fields: readonly Pair[], stream: number, frames: number, ends: boolean): Buffer[] {
  const block = literalBlock(fields);
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
 * A client of HTTP/2 that sends header lists no client library would.
 *
 * Resolves when every stream has closed or the connection has ended, or after `limitMs`.
 */
export function sendStreams(socket: Duplex, streams: readonly WireStream[], limitMs: number): Promise<WireAnswer[]> {
  const replace = (id: number): Buffer | null => {
    const given = streams[(id - 1) / 2];
    return given === undefined ? null : streamFrames(given, id);
  };
  return converse(socket, {
    replace,
    opened: streams.length,
    awaited: streams.map((_, index) => 2 * index + 1),
    pings: false,
    limitMs,
  });
}

/** Streams whose answers are read, whoever they were meant for. */
const READ_STREAMS = 6;

/**
 * A client of HTTP/2 that sends any bytes behind its preface and settings.
 *
 * Resolves when the streams of `awaited` have closed and a ping has come back, when the connection has ended, or after `limitMs`.
 */
export function sendBytes(
  socket: Duplex,
  bytes: Buffer,
  awaited: readonly number[],
  limitMs: number,
): Promise<WireAnswer[]> {
  const replace = (id: number): Buffer => (id === 1 ? bytes : Buffer.alloc(0));
  return converse(socket, { replace, opened: READ_STREAMS, awaited, pings: true, limitMs });
}

interface Conversation {
  /** What is sent in place of the HEADERS of one stream; null for them as they are. */
  readonly replace: (stream: number) => Buffer | null;
  readonly opened: number;
  readonly awaited: readonly number[];
  /** Whether a ping has to come back as well. */
  readonly pings: boolean;
  readonly limitMs: number;
}

/**
 * Node's own client, whose HEADERS frames are replaced on the way out. So the settings, windows and the reading of what comes back are
 * nghttp2's.
 */
async function converse(
  socket: Duplex,
  { replace, opened, awaited, pings, limitMs }: Conversation,
): Promise<WireAnswer[]> {
  let pending: Buffer = Buffer.alloc(0);
  let isPrefaceSent = false;
  const wire = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      pending = Buffer.concat([pending, chunk]);
      const out: Buffer[] = [];
      if (!isPrefaceSent && pending.length >= PREFACE_BYTES) {
        out.push(pending.subarray(0, PREFACE_BYTES));
        pending = pending.subarray(PREFACE_BYTES);
        isPrefaceSent = true;
      }
      while (isPrefaceSent && pending.length >= FRAME_HEAD_BYTES) {
        const end = FRAME_HEAD_BYTES + pending.readUIntBE(0, 3);
        if (pending.length < end) break;
        const id = pending.readUInt32BE(5) & 0x7fff_ffff;
        const given = pending.readUInt8(3) === TYPE.headers ? replace(id) : null;
        out.push(given ?? pending.subarray(0, end));
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
  const ended = new Promise<void>((resolve) => session.on('close', resolve));
  const answers: WireAnswer[] = [];
  const closed = Array.from({ length: opened }, (_, index) => {
    const answer: { status: number | null; text: string; body: string } = { status: null, text: '', body: '' };
    answers.push(answer);
    const note = (_headers: unknown, _flags: unknown, raw: string[]): void =>
      void (answer.text += `${raw.join('\n')}\n`);
    const stream = session.request({ ':path': '/' }, { endStream: true });
    stream.on('response', (headers: http2.IncomingHttpHeaders, flags: number, raw: string[]) => {
      answer.status = Number(headers[':status']);
      note(headers, flags, raw);
    });
    stream.on('headers', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => (answer.body += chunk.toString('latin1')));
    stream.on('error', () => undefined);
    const id = 2 * index + 1;
    return new Promise<void>((resolve) => stream.on('close', resolve)).then(() => id);
  });
  const pinged = new Promise<void>((resolve) => {
    if (!pings) resolve();
    session.once('remoteSettings', () => void session.ping(() => resolve()));
  });
  const timer = setTimeout(() => session.destroy(), limitMs);
  const done = Promise.all([pinged, ...closed.filter((_, index) => awaited.includes(2 * index + 1))]);
  await Promise.race([done, ended]);
  clearTimeout(timer);
  session.destroy();
  socket.destroy();
  return answers;
}
