import { encodeFields, encodeFrame, FLAG, FRAME, type WireField } from '../engine/http2-wire.testing.ts';
import { CLIENT_START, Recorder, SERVER_START } from './recorder.testing.ts';

/** A request without a body. */
export const GET: readonly WireField[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'a.example'],
  [':path', '/p'],
];
/** A request with one. */
export const POST = GET.map(([name, value]): WireField => (name === ':method' ? [name, 'POST'] : [name, value]));
/** The fields of that request as they are told of. */
export const GET_FIELDS = GET.flat();
/** Its header block. */
export const BLOCK = encodeFields(GET);
/** Flags of a head that is whole and ends its stream. */
export const WHOLE = FLAG.endHeaders | FLAG.endStream;
/** Further flags. */
export const PADDED = 8;
/** Another one. */
export const PRIORITY = 32;

/** The plain request with fields behind it. */
export function plus(...fields: readonly WireField[]): readonly WireField[] {
  return [...GET, ...fields];
}

/** The plain request without a field, or with another value of it, or with it several times. */
export function withField(name: string, ...values: readonly string[]): readonly WireField[] {
  return GET.flatMap((field) => (field[0] === name ? values.map((value): WireField => [name, value]) : [field]));
}

/** The same bytes many times, with each time's number. */
export function times(count: number, make: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

/** Integers of 32 bits. */
export function integer(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}

/** SETTINGS with one entry. */
export function setting(identifier: number, value: number): Buffer {
  return encodeFrame(FRAME.settings, 0, 0, Buffer.concat([Buffer.of(0, identifier), integer(value)]));
}

/** A header block as one frame. */
export function headers(stream: number, fields: readonly WireField[] = GET, flags = WHOLE): Buffer {
  return encodeFrame(FRAME.headers, flags, stream, encodeFields(fields));
}

/** A frame of a body. */
export function data(stream: number, text: string, flags = 0): Buffer {
  return encodeFrame(FRAME.data, flags, stream, Buffer.from(text, 'latin1'));
}

/** A server whose client has sent its settings. */
export function openServer(
  ...options: ConstructorParameters<typeof Recorder> extends [unknown, ...infer Rest] ? Rest : never
): Recorder {
  const server = new Recorder('server', ...options);
  server.receive(CLIENT_START);
  server.take();
  return server;
}

/** A client whose server has sent its settings. */
export function openClient(
  ...options: ConstructorParameters<typeof Recorder> extends [unknown, ...infer Rest] ? Rest : never
): Recorder {
  const client = new Recorder('client', ...options);
  client.receive(SERVER_START);
  client.take();
  return client;
}
