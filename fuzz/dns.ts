/**
 * Fuzz target for the DNS server's pure parts: queries that are wrong in few places, and noise. Nothing may throw; what is answered must
 * be a well-formed response to that very query, by a reader of its own that follows RFC 1035 alone.
 *
 * `node --conditions=sallyport-source fuzz/dns.ts [--seed S] [--iterations N]`
 */
import { parseArgs } from 'node:util';

import { answerQuery } from '../packages/runtime/src/dns/answer.ts';
import { encodeAnswer, parseQuery, udpLimit } from '../packages/runtime/src/dns/message.ts';
import { SyntheticAddresses } from '../packages/runtime/src/dns/synthetic-addresses.ts';
import { Dice } from './redact.ts';

const LABELS = [
  'api',
  'GitHub',
  'com',
  'example',
  'localhost',
  'onion',
  'xn--bcher-kva',
  '_tcp',
  'in-addr',
  'arpa',
  'a.b',
  '\0',
  '-',
  '1',
];
const TYPES = [1, 28, 12, 16, 65, 255, 252, 41, 0, 6];

/**
 * Runs `iterations` cases from `seed`.
 *
 * Ends after `milliseconds`; returns how many cases ran.
 *
 * @throws Error that names the iteration and quotes the packet, on the first finding
 */
export function run(seed: number, iterations: number, milliseconds = Number.POSITIVE_INFINITY): number {
  const started = performance.now();
  const dice = new Dice(seed);
  const zone = new SyntheticAddresses({ capacity: 256 });
  for (let iteration = 0; iteration < iterations; iteration += 1) {
    if (performance.now() - started > milliseconds) return iteration;
    const packet = dice.below(8) === 0 ? noise(dice) : damagedQuery(dice);
    try {
      check(packet, zone);
    } catch (error) {
      throw new Error(`seed ${seed}, iteration ${iteration}: packet ${packet.toString('hex')}`, { cause: error });
    }
  }
  return iterations;
}

function check(packet: Buffer, zone: SyntheticAddresses): void {
  const parsed = parseQuery(packet);
  if (parsed.kind === 'drop') {
    expect(packet.length < 2 || ((packet[2] ?? 0) & 0x80) !== 0, 'dropped a query');
    return;
  }
  const limit = udpLimit(parsed.envelope);
  const response =
    parsed.kind === 'refuse'
      ? { rcode: parsed.rcode, answers: [], negative: false }
      : answerQuery(parsed, zone).response;
  const bytes = encodeAnswer(parsed.envelope, response, { ttlSeconds: 60, negativeTtlSeconds: 5, maxBytes: limit });
  expect(bytes.length <= limit && limit <= 1232, 'over the size that the client takes');
  expect(bytes.readUInt16BE(0) === packet.readUInt16BE(0), 'another id');
  expect((bytes.readUInt16BE(2) & 0x8000) !== 0, 'no response');
  const [questions = 0, answers = 0, authority = 0, additional = 0] = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at));
  let offset = 12;
  for (let index = 0; index < questions; index += 1) {
    const end = nameEnd(bytes, offset) + 4;
    expect(bytes.subarray(offset, end).equals(packet.subarray(offset, end)), 'another question');
    offset = end;
  }
  for (let index = 0; index < answers + authority + additional; index += 1) {
    const end = nameEnd(bytes, offset);
    offset = end + 10 + bytes.readUInt16BE(end + 8);
  }
  expect(offset === bytes.length, 'bytes behind the last record');
  expect(parsed.kind === 'query' || answers === 0, 'an answer to what was refused');
}

function nameEnd(bytes: Buffer, start: number): number {
  let offset = start;
  for (;;) {
    const length = bytes.readUInt8(offset);
    if (length >= 0xc0) {
      expect(bytes.readUInt16BE(offset) === 0xc00c, 'a pointer elsewhere');
      return offset + 2;
    }
    expect(length < 64, 'a label type');
    offset += 1 + length;
    if (length === 0) {
      return offset;
    }
  }
}

function damagedQuery(dice: Dice): Buffer {
  const labels = Array.from({ length: dice.below(5) }, () => dice.pick(LABELS));
  const name = labels.map((label) => String.fromCharCode(label.length) + label).join('');
  const opt = dice.below(2) === 0 ? '\0\0\x29\x10\0\0\0\0\0\0\0' : '';
  const type = dice.pick(TYPES);
  const packet = Buffer.from(
    `\x12\x34\x01\0\0\x01\0\0\0\0\0${opt === '' ? '\0' : '\x01'}${name}\0\0${String.fromCharCode(type)}\0\x01${opt}`,
    'latin1',
  );
  for (let damage = dice.below(4); damage > 0; damage -= 1) {
    packet[dice.below(packet.length)] = dice.pick([0, 1, 0x3f, 0x40, 0xc0, 0xff, dice.below(256)]);
  }
  return dice.below(4) === 0 ? packet.subarray(0, dice.below(packet.length)) : packet;
}

function noise(dice: Dice): Buffer {
  return Buffer.from(Array.from({ length: dice.below(600) }, () => dice.below(256)));
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) {
    throw new Error(otherwise);
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      iterations: { type: 'string', default: '100000' },
      seconds: { type: 'string', default: 'Infinity' },
    },
  });
  const done = run(Number(values.seed), Number(values.iterations), Number(values.seconds) * 1000);
  process.stdout.write(`dns: ${done} iterations with seed ${values.seed}, nothing found\n`);
}
