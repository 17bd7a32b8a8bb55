import type { Random } from '../http1/random.ts';
import { HpackWriter, hpackInteger, type FieldForm } from './hpack.ts';
import { FLAG, frame, TYPE, type Pair } from './http2-wire.ts';
import { FREE_HOST, PLACEHOLDERS } from './lane.ts';

/** One frame of a case; the payload is Latin-1. */
export type RawFrame = { type: number; flags: number; stream: number; payload: string };

/** Stands in the field `x-case` of every request, behind it a full stop and the number of its stream. */
export const CASE_MARK = '#CASE###';

const FORMS: readonly FieldForm[] = ['indexed', 'indexed', 'literal', 'never', 'incremental'];
/** For blocks that may be sent in another order than they are written in. */
const TABLELESS_FORMS: readonly FieldForm[] = ['literal', 'never'];
const CONNECTION_TYPES: readonly number[] = [TYPE.settings, TYPE.ping, TYPE.goaway];
const TYPES = [...Object.values(TYPE), 11, 16, 255];
const FLAG_SETS = [0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 37, 44, 45, 255];
const ODD_FIELDS: readonly Pair[] = [
  ['host', 'evil.example'], ['connection', 'close'], ['transfer-encoding', 'chunked'], ['te', 'trailers'], ['te', 'gzip'], ['upgrade', 'h2c'],
  ['content-length', '0'], ['content-length', '3'], ['content-length', '5'], ['content-length', '-1'], ['content-length', '03'], ['content-length', '3, 3'],
  [':method', 'POST'], [':path', '/other'], [':authority', 'evil.example'], [':scheme', 'http'], [':status', '200'], [':x', 'y'],
  ['x-a', 'a\r\nb'], ['x-a', ' a'], ['x a', 'b'], ['', 'b'], ['X-Upper', 'b'], ['x-a', ''], ['cookie', 'a=1'], ['cookie', 'b=2'],
  ['authorization', `Bearer ${PLACEHOLDERS.SECURE}`], ['x-a', PLACEHOLDERS.CLEAR], ['expect', '100-continue'], ['range', 'bytes=0-3'],
]; // prettier-ignore

/** A setting (RFC 9113 section 6.5). */
function setting(identifier: number, value: number): string {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(identifier);
  bytes.writeUInt32BE(value, 2);
  return bytes.toString('latin1');
}

function number32(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString('latin1');
}

/** Frames that belong to no request, or stand where they may not. */
function oddFrame(random: Random, streams: number): RawFrame {
  const stream = 2 * random.below(streams + 1) + 1;
  const type = random.pick(TYPES);
  const payloads: Readonly<Record<number, readonly string[]>> = {
    [TYPE.data]: ['', 'abc', '\0', '\x05ab'],
    [TYPE.headers]: ['', '\x82', '\xbf', '\x80', '\x3f\xe1\x1f', '\0\x05x-sum\x011'],
    [TYPE.priority]: [number32(0) + '\x10', number32(stream) + '\x10', number32(0x8000_0003) + '\xff', ''],
    [TYPE.reset]: [number32(8), number32(0), ''],
    [TYPE.settings]: ['', setting(4, 1), setting(4, 0x8000_0000), setting(5, 16_383), setting(5, 100_000), setting(1, 0), setting(2, 1), setting(99, 1), 'abc'],
    [TYPE.push]: [number32(2) + '\x82\x84\x87'],
    [TYPE.ping]: ['12345678', '1234'],
    [TYPE.goaway]: [number32(0) + number32(0), ''],
    [TYPE.window]: [number32(1), number32(0), number32(0x7fff_ffff), number32(0x8000_0001), ''],
    [TYPE.continuation]: ['', '\x82', '\0\x03x-a\x01a'],
  }; // prettier-ignore
  const isOfConnection =
    CONNECTION_TYPES.includes(type) || (type === TYPE.window && random.oneIn(2)) ? !random.oneIn(8) : random.oneIn(12);
  return {
    type,
    flags: random.oneIn(2) ? 0 : random.pick(FLAG_SETS),
    stream: isOfConnection ? 0 : stream,
    payload: random.pick(payloads[type] ?? ['', 'abc']),
  };
}

/** Puts padding, now and then more of it than there is room for, and a priority around a payload; returns it with its flags. */
function wrap(
  random: Random,
  payload: string,
  flags: number,
  hasPriority: boolean,
): { payload: string; flags: number } {
  let [text, set] = [payload, flags];
  if (hasPriority && random.oneIn(6)) {
    text = `${number32(random.pick([0, 0, 7, 0x8000_0007, 1]))}${String.fromCharCode(random.below(256))}${text}`;
    set |= FLAG.priority;
  }
  // Padding alone, with nothing before it, is more than h2 takes.
  if (text !== '' && random.oneIn(6)) {
    const size = random.below(20);
    const claimed = random.oneIn(30) ? size + 1 + random.below(200) : size;
    text = `${String.fromCharCode(Math.min(255, claimed))}${text}${'\0'.repeat(size)}`;
    set |= FLAG.padded;
  }
  return { payload: text, flags: set };
}

/** A header block in HEADERS and CONTINUATION frames, padded and cut now and then. */
export function blockFrames(random: Random, stream: number, block: Buffer, ends: boolean): RawFrame[] {
  const pieces = random.oneIn(4) ? 1 + random.below(4) : 1;
  const cuts = Array.from({ length: pieces - 1 }, () => random.below(block.length + 1)).toSorted((a, b) => a - b);
  const edges = [0, ...cuts, block.length];
  return edges.slice(1).map((end, index) => {
    const isLast = index === edges.length - 2;
    const flags = (isLast ? FLAG.endHeaders : 0) | (index === 0 && ends ? FLAG.endStream : 0);
    const piece = block.subarray(edges[index], end).toString('latin1');
    const wrapped = index === 0 ? wrap(random, piece, flags, true) : { payload: piece, flags };
    return { type: index === 0 ? TYPE.headers : TYPE.continuation, stream, ...wrapped };
  });
}

/** A body in DATA frames; its end is forgotten now and then. */
export function dataFrames(random: Random, stream: number, body: string, isLast: boolean): RawFrame[] {
  const cut = random.below(body.length + 1);
  const pieces = random.oneIn(3) ? [body.slice(0, cut), body.slice(cut)] : [body];
  return pieces.map((piece, at) => {
    const ends = at === pieces.length - 1 && isLast && !random.oneIn(25);
    return { type: TYPE.data, stream, ...wrap(random, piece, ends ? FLAG.endStream : 0, false) };
  });
}

function headerBlock(random: Random, writer: HpackWriter, fields: readonly Pair[], forms = FORMS): Buffer {
  const parts = fields.map((field) =>
    // The mark is looked for as text, and differs from case to case: it must enter no table.
    field[0] === 'x-case'
      ? writer.field(field, 'literal', false)
      : writer.field(field, random.pick(forms), random.oneIn(3)),
  );
  if (random.oneIn(20)) parts.unshift(hpackInteger(random.pick([0, 100, 4096, 5000]), 5, 0x20));
  return Buffer.concat(parts);
}

function requestFields(random: Random, host: string, body: string, hasBody: boolean): Pair[] {
  const method = random.oneIn(30) ? random.pick(['CONNECT', 'HEAD', 'OPTIONS', 'get']) : hasBody ? 'POST' : 'GET';
  let fields: Pair[] = [
    [':method', method],
    [':scheme', 'https'],
    [':authority', random.oneIn(30) ? random.pick(['evil.example', FREE_HOST, '', `${host}:443`]) : host],
    [':path', random.oneIn(20) ? random.pick(['*', '', '/a b', 'https://evil.example/', `/${PLACEHOLDERS.SECURE}`]) : '/a?b=c'],
  ]; // prettier-ignore
  if (random.oneIn(40)) fields = fields.toSpliced(random.below(4), 1);
  if (random.oneIn(40)) fields.splice(random.below(5), 0, random.pick(fields));
  if (random.oneIn(25)) fields.sort(() => random.below(3) - 1);
  if (hasBody && random.oneIn(2))
    fields.push(['content-length', String(random.oneIn(12) ? random.below(8) : body.length)]);
  if (random.oneIn(2)) fields.push(['authorization', `Bearer ${PLACEHOLDERS.SECURE}`]);
  if (random.oneIn(12))
    fields.splice(random.oneIn(4) ? random.below(fields.length + 1) : fields.length, 0, random.pick(ODD_FIELDS));
  if (random.oneIn(4)) fields.push(['x-a', random.pick(['a', 'b', PLACEHOLDERS.CLEAR])]);
  return fields;
}

function requestFrames(random: Random, writer: HpackWriter, host: string, index: number): RawFrame[] {
  const stream = 2 * index + 1;
  const hasBody = random.oneIn(2);
  const body = hasBody ? random.pick(['abc', 'abcde', PLACEHOLDERS.SECURE, 'x'.repeat(500), '']) : '';
  const hasTrailers = random.oneIn(5);
  const fields = requestFields(random, host, body, hasBody);
  fields.push(['x-case', `${CASE_MARK}.${stream}`]);
  const frames = blockFrames(random, stream, headerBlock(random, writer, fields), !hasBody && !hasTrailers);
  if (hasBody) frames.push(...dataFrames(random, stream, body, !hasTrailers));
  if (hasTrailers) {
    const trailers: Pair[] = [
      random.oneIn(3) ? random.pick(ODD_FIELDS) : ['x-sum', random.pick(['1', PLACEHOLDERS.SECURE])],
    ];
    frames.push(
      ...blockFrames(random, stream, headerBlock(random, writer, trailers, TABLELESS_FORMS), !random.oneIn(10)),
    );
  }
  return frames;
}

/** Breaks one thing, most of the time. */
export function mutate(random: Random, frames: RawFrame[], streams: number): RawFrame[] {
  const at = random.below(frames.length);
  const chosen = frames[at];
  if (chosen === undefined) return frames;
  switch (random.below(9)) {
    case 0:
      return frames.toSpliced(at, 1);
    case 1:
      return frames.toSpliced(at, 0, chosen);
    case 2:
      return frames.with(at, { ...chosen, flags: chosen.flags ^ random.pick([1, 4, 8, 32]) });
    case 3:
      return frames.with(at, { ...chosen, flags: random.pick(FLAG_SETS) });
    case 4:
      return frames.with(at, { ...chosen, stream: random.pick([0, 1, 2, 3, 5, 7, 0x7fff_ffff]) });
    case 5:
      return frames.with(at, { ...chosen, type: random.pick(TYPES) });
    case 6: {
      const where = random.below(chosen.payload.length + 1);
      const byte = String.fromCharCode(random.below(256));
      const rest = chosen.payload.slice(where + random.below(2));
      return frames.with(at, { ...chosen, payload: chosen.payload.slice(0, where) + byte + rest });
    }
    case 7:
      return frames.with(at, { ...chosen, payload: chosen.payload.slice(0, random.below(chosen.payload.length + 1)) });
    default:
      return frames.toSpliced(at, 0, oddFrame(random, streams));
  }
}

/** The frames of a few requests to a host, wrong in few places. */
export function generateFrames(random: Random, host: string): RawFrame[] {
  const writer = new HpackWriter();
  const streams = 1 + random.below(3);
  const requests = Array.from({ length: streams }, (_, index) => requestFrames(random, writer, host, index));
  let frames = random.oneIn(2) ? requests.flat() : headsFirst(random, requests);
  for (let left = random.pick([0, 0, 0, 1, 1, 3]); left > 0; left -= 1) frames = mutate(random, frames, streams);
  return frames;
}

/** All heads, then the bodies' frames mixed. Header blocks keep their order, for tables come to be in it; so trailers stand at the end. */
function headsFirst(random: Random, requests: readonly RawFrame[][]): RawFrame[] {
  const heads: RawFrame[] = [];
  const bodies: RawFrame[][] = [];
  const trailers: RawFrame[] = [];
  for (const frames of requests) {
    const first = frames.findIndex(({ type }) => type === TYPE.data);
    const end = frames.findLastIndex(({ type }) => type === TYPE.data) + 1;
    const second = frames.findLastIndex(({ type }) => type === TYPE.headers);
    const headEnd = first < 0 ? (second === 0 ? frames.length : second) : first;
    heads.push(...frames.slice(0, headEnd));
    bodies.push(first < 0 ? [] : frames.slice(first, end));
    trailers.push(...frames.slice(Math.max(headEnd, end)));
  }
  return [...heads, ...mix(random, bodies), ...trailers];
}

/** Takes from several lists, each in its order. */
function mix(random: Random, lists: readonly RawFrame[][]): RawFrame[] {
  const waiting = lists.map((list) => [...list]).filter((list) => list.length > 0);
  const mixed: RawFrame[] = [];
  while (waiting.length > 0) {
    const at = random.below(waiting.length);
    mixed.push(waiting[at]!.shift()!);
    if (waiting[at]!.length === 0) waiting.splice(at, 1);
  }
  return mixed;
}

/** The bytes of frames. */
export function frameBytes(frames: readonly RawFrame[]): Buffer {
  return Buffer.concat(
    frames.map(({ type, flags, stream, payload }) =>
      frame(type & 0xff, flags & 0xff, stream, Buffer.from(payload, 'latin1')),
    ),
  );
}
