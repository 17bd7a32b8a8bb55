import { Http2Connection } from '../../packages/runtime/src/http2/connection.ts';
import type { Http2Limits, Http2Stream, Http2StreamListener } from '../../packages/runtime/src/http2/types.ts';

/** One message that came whole; Latin-1. */
export interface SeenMessage {
  readonly stream: number;
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

/** What our codec made of one connection's bytes. */
export interface Reading {
  readonly messages: readonly SeenMessage[];
  /** Interim heads, faults, resets and ends, in order. */
  readonly events: readonly string[];
  /** Reasons of faults, by stream; 0 for the connection. */
  readonly faults: ReadonlyMap<number, string>;
  /** Heads that came, of messages that did not come whole. */
  readonly begun: ReadonlySet<number>;
  /** Everything that was written. */
  readonly written: string;
  /** What is wrong with how listeners were called; null for nothing. */
  readonly misuse: string | null;
}

const LIMITS: Http2Limits = {
  maxConcurrentStreams: 128,
  maxHeaderListBytes: 64 * 1024,
  maxHeaderPairs: 256,
  windowBytes: 256 * 1024,
  streamResetBurst: 200,
  streamResetsPerSecond: 33,
  maxInterimResponses: 32,
};
/** Requests that a client under test has sent: without a body, with one that goes on, and HEAD. */
export const SENT_REQUESTS: readonly (readonly [method: string, ends: boolean])[] = [
  ['GET', true],
  ['POST', false],
  ['HEAD', true],
];

/** Reads the chunks as either side. A server answers nothing. `pauses` has every stream stop and go on again after each chunk. */
export function readWithOurs(role: 'server' | 'client', chunks: readonly Buffer[], pauses: boolean): Reading {
  const messages: SeenMessage[] = [];
  const events: string[] = [];
  const faults = new Map<number, string>();
  const begun = new Set<number>();
  const streams: Http2Stream[] = [];
  const closed = new Set<number>();
  let written = '';
  let misuse: string | null = null;
  let isOver = false;
  const listen = (stream: () => Http2Stream, request: readonly string[]): Http2StreamListener => {
    let fields = request;
    let body = '';
    let isEnded = false;
    const called = (what: string): void => {
      const { id } = stream();
      if (closed.has(id)) misuse ??= `${what} behind closed: stream ${id}`;
    };
    return {
      interim: (list) => void events.push(`interim ${JSON.stringify(list)}`),
      head: (list) => {
        called('head');
        begun.add(stream().id);
        fields = list;
      },
      data: (bytes) => {
        called('data');
        if (isEnded) misuse ??= 'data behind the end';
        body += bytes.toString('latin1');
      },
      end: (trailers) => {
        called('end');
        if (isEnded) misuse ??= 'two ends';
        isEnded = true;
        const { id } = stream();
        begun.delete(id);
        messages.push({ stream: id, fields, body, trailers });
      },
      reset: (code) => {
        called('reset');
        events.push(`${stream().id} reset ${code}`);
      },
      drain: () => called('drain'),
      closed: () => {
        called('closed');
        closed.add(stream().id);
      },
    };
  };
  const connection: Http2Connection = new Http2Connection({
    role,
    limits: LIMITS,
    enableConnectProtocol: true,
    nowMs: () => 0,
    output: {
      write: (bytes) => {
        written += bytes.toString('latin1');
        return true;
      },
      schedule: () => undefined,
      end: () => undefined,
    },
    listener: {
      stream: (stream, fields) => {
        begun.add(stream.id);
        streams.push(stream);
        stream.listener = listen(() => stream, fields);
      },
      settings: () => undefined,
      goAway: (code) => void events.push(`goaway ${code}`),
      fault: ({ streamId, code, reason }) => {
        faults.set(streamId, reason);
        events.push(`${streamId} fault ${code} ${reason}`);
      },
      closed: () => {
        if (isOver) misuse ??= 'two ends of the connection';
        isOver = true;
      },
    },
  });
  if (role === 'client') {
    for (const [method, ends] of SENT_REQUESTS) {
      const list = [':method', method, ':scheme', 'https', ':authority', 'a.example', ':path', '/'];
      const stream: Http2Stream = connection.request(
        list,
        { ends },
        listen(() => stream, []),
      );
      streams.push(stream);
    }
  }
  for (const chunk of chunks) {
    if (pauses) for (const stream of streams) stream.pause();
    connection.receive(chunk);
    if (pauses) for (const stream of streams) stream.resume();
  }
  connection.flush();
  connection.destroy();
  for (const { id } of streams) if (!closed.has(id)) misuse ??= `never closed: stream ${id}`;
  if (!isOver) misuse ??= 'the connection has no end';
  return { messages, events, faults, begun, written, misuse };
}
