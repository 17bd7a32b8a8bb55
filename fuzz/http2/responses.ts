import { HpackWriter, type FieldForm } from '../gate/hpack.ts';
import { blockFrames, dataFrames, mutate, type RawFrame } from '../gate/http2-frames.ts';
import { TYPE, type Pair } from '../gate/http2-wire.ts';
import type { Random } from '../http1/random.ts';
import { SENT_REQUESTS } from './reading.ts';

const FORMS: readonly FieldForm[] = ['indexed', 'literal', 'never', 'incremental'];
const ODD_FIELDS: readonly Pair[] = [
  ['connection', 'close'], ['transfer-encoding', 'chunked'], ['te', 'gzip'], ['content-length', '3'], ['content-length', '0'], ['content-length', 'x'],
  [':status', '200'], [':path', '/'], ['X-A', 'b'], ['x-a', 'a\r\nb'], ['x-a', ' a'], ['', 'b'], ['x a', 'b'],
]; // prettier-ignore

function block(random: Random, writer: HpackWriter, fields: readonly Pair[]): Buffer {
  return Buffer.concat(fields.map((field) => writer.field(field, random.pick(FORMS), random.oneIn(2))));
}

function response(random: Random, writer: HpackWriter, stream: number, method: string): RawFrame[] {
  const frames: RawFrame[] = [];
  for (let left = random.pick([0, 0, 0, 1, 3]); left > 0; left -= 1) {
    frames.push(...blockFrames(random, stream, block(random, writer, [[':status', random.pick(['100', '103', '101'])]]), random.oneIn(20))); // prettier-ignore
  }
  const status = random.pick(['200', '200', '200', '204', '304', '404', '99', '2000']);
  const hasBody = method !== 'HEAD' && !random.oneIn(4) && !['204', '304'].includes(status);
  const body = hasBody || random.oneIn(20) ? random.pick(['abc', 'x'.repeat(700), '']) : '';
  const fields: Pair[] = random.oneIn(30) ? [] : [[':status', status]];
  if (random.oneIn(2)) fields.push(['content-length', String(random.oneIn(10) ? 5 : body.length)]);
  if (random.oneIn(3)) fields.push(['x-a', random.pick(['a', 'b', ''])]);
  if (random.oneIn(8)) fields.splice(random.below(fields.length + 1), 0, random.pick(ODD_FIELDS));
  const hasTrailers = random.oneIn(5);
  const isBare = body === '' && !hasTrailers && random.oneIn(2);
  frames.push(...blockFrames(random, stream, block(random, writer, fields), isBare));
  if (!isBare) frames.push(...dataFrames(random, stream, body, !hasTrailers));
  if (hasTrailers) {
    const trailers: Pair[] = [random.oneIn(4) ? random.pick(ODD_FIELDS) : ['x-sum', '1']];
    frames.push(...blockFrames(random, stream, block(random, writer, trailers), !random.oneIn(10)));
  }
  if (random.oneIn(12)) frames.push({ type: TYPE.reset, flags: 0, stream, payload: `\0\0\0${random.pick(['\0', '\x08'])}` }); // prettier-ignore
  return frames;
}

/** What a server sends behind its settings, in answer to {@link SENT_REQUESTS}, wrong in few places. */
export function generateResponses(random: Random): RawFrame[] {
  const writer = new HpackWriter();
  let frames = SENT_REQUESTS.flatMap(([method], index) => response(random, writer, 2 * index + 1, method));
  for (let left = random.pick([0, 0, 0, 1, 1, 3]); left > 0; left -= 1)
    frames = mutate(random, frames, SENT_REQUESTS.length);
  if (random.oneIn(20)) frames.push({ type: TYPE.goaway, flags: 0, stream: 0, payload: `\0\0\0\x01${'\0'.repeat(4)}` });
  return frames;
}
