import { encodeFrame, FRAME, type WireFrame } from '../engine/http2-wire.testing.ts';
import { Http2Connection } from './connection.ts';
import type { Http2ConnectionOptions, Http2Limits, Http2Stream, Http2StreamListener } from './types.ts';

/** Limits as the gate's are, but for a small window. */
export const TEST_LIMITS: Http2Limits = {
  maxConcurrentStreams: 128,
  maxHeaderListBytes: 64 * 1024,
  maxHeaderPairs: 256,
  windowBytes: 64 * 1024,
  streamResetBurst: 200,
  streamResetsPerSecond: 33,
  maxInterimResponses: 32,
};

/** The client's preface and empty settings. */
export const CLIENT_START = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
  encodeFrame(FRAME.settings, 0, 0),
]);
/** The same for the server's side. */
export const SERVER_START = encodeFrame(FRAME.settings, 0, 0);

/** What a connection told of, one line each; pieces of a body are joined. */
export type Transcript = string[];

/** A connection under test: it notes what it is told, and what it writes. */
export class Recorder {
  readonly connection: Http2Connection;
  readonly transcript: Transcript = [];
  readonly streams: Http2Stream[] = [];
  /** How often `write` was called, and whether the socket has room. */
  writes = 0;
  hasRoom = true;
  isEnded = false;
  nowMs = 0;
  /** What is done with a stream that comes, besides noting it. */
  onStream: (stream: Http2Stream) => void = () => undefined;
  onData: (stream: Http2Stream) => void = () => undefined;
  #written: Buffer[] = [];

  constructor(
    role: 'server' | 'client',
    limits: Partial<Http2Limits> = {},
    options: Partial<Http2ConnectionOptions> = {},
  ) {
    this.connection = new Http2Connection({
      role,
      limits: { ...TEST_LIMITS, ...limits },
      nowMs: () => this.nowMs,
      output: {
        write: (bytes) => {
          this.writes += 1;
          this.#written.push(Buffer.from(bytes));
          return this.hasRoom;
        },
        schedule: () => undefined,
        end: () => {
          this.isEnded = true;
        },
      },
      listener: {
        stream: (stream, fields, ends) => {
          this.transcript.push(`${stream.id} request ${JSON.stringify(fields)}${ends ? ' ends' : ''}`);
          this.streams.push(stream);
          stream.listener = this.listen(() => stream);
          this.onStream(stream);
        },
        settings: () => undefined,
        goAway: (code) => this.transcript.push(`goaway ${code}`),
        fault: ({ scope, streamId, code, reason }) =>
          this.transcript.push(`${scope} ${streamId} fault ${code}: ${reason}`),
        closed: () => this.transcript.push('connection closed'),
      },
      ...options,
    });
    this.take();
  }

  /** Notes what a stream is told. */
  listen(stream: () => Http2Stream): Http2StreamListener {
    const note = (text: string): void => void this.transcript.push(`${stream().id} ${text}`);
    return {
      interim: (fields) => note(`interim ${JSON.stringify(fields)}`),
      head: (fields, ends) => note(`head ${JSON.stringify(fields)}${ends ? ' ends' : ''}`),
      data: (bytes) => {
        const prefix = `${stream().id} data `;
        const last = this.transcript.at(-1) ?? '';
        if (last.startsWith(prefix)) this.transcript[this.transcript.length - 1] = last + bytes.toString('latin1');
        else this.transcript.push(prefix + bytes.toString('latin1'));
        this.onData(stream());
      },
      end: (trailers) => note(`end ${JSON.stringify(trailers)}`),
      reset: (code) => note(`reset ${code}`),
      drain: () => note('drain'),
      closed: () => note('closed'),
    };
  }

  /** Client's side: sends a request. */
  request(fields: readonly string[], ends = true): Http2Stream {
    const stream: Http2Stream = this.connection.request(
      fields,
      { ends },
      this.listen(() => stream),
    );
    this.streams.push(stream);
    return stream;
  }

  receive(...frames: readonly Buffer[]): void {
    this.connection.receive(Buffer.concat(frames));
  }

  /** Flushes, and gives the bytes that were written since the last call. */
  take(): Buffer {
    this.connection.flush();
    return Buffer.concat(this.#written.splice(0));
  }

  /** The same as frames. */
  takeFrames(): WireFrame[] {
    return readFrames(this.take());
  }

  /** What was written, in short: the frames' types, and the codes of those that have one. */
  takeSummary(): string {
    return this.takeFrames().map(describeFrame).join(', ');
  }
}

/** Reads whole frames. */
export function readFrames(bytes: Buffer): WireFrame[] {
  const frames: WireFrame[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    frames.push({
      type: bytes[at + 3]!,
      flags: bytes[at + 4]!,
      stream: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, end),
    });
    at = end;
  }
  return frames;
}

function describeFrame({ type, flags, stream, payload }: WireFrame): string {
  switch (type) {
    case FRAME.data:
      return `${stream} data ${payload.length}${(flags & 1) === 0 ? '' : ' ends'}`;
    case FRAME.headers:
      return `${stream} headers${(flags & 1) === 0 ? '' : ' ends'}`;
    case FRAME.reset:
      return `${stream} reset ${payload.readUInt32BE(0)}`;
    case FRAME.settings:
      return (flags & 1) === 0 ? 'settings' : 'settings ack';
    case FRAME.ping:
      return (flags & 1) === 0 ? 'ping' : 'pong';
    case FRAME.goaway:
      return `goaway ${payload.readUInt32BE(4)} behind ${payload.readUInt32BE(0)}`;
    case FRAME.window:
      return `${stream} window ${payload.readUInt32BE(0)}`;
    default:
      return `${stream} type ${type}`;
  }
}
