/**
 * Differential fuzz target for the HTTP/2 codec: what a peer sends, wrong in few places, is read whole, in random pieces, and with streams
 * that are paused. Nothing throws, listeners are called in order, and the pieces make no difference. What a client sends goes to Python's h2
 * as well: a request that we take must be one that h2 takes, with the same fields, body and trailers; one that h2 takes and we do not must
 * be one that we say is at fault. Of what a server sends, a response must be as long as its Content-Length.
 *
 * `node --conditions=sallyport-source fuzz/http2.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { CASE_MARK, frameBytes, generateFrames, type RawFrame } from './gate/http2-frames.ts';
import { BOUND_HOST } from './gate/lane.ts';
import { valuesOf } from './http1/field-values.ts';
import { Random } from './http1/random.ts';
import { readWithOurs, type Reading, type SeenMessage } from './http2/reading.ts';
import { generateResponses } from './http2/responses.ts';
import { PythonOracle } from './python/oracle.ts';

type Case = { isServer: boolean; frames: RawFrame[]; cut: number };

interface H2Reading {
  readonly requests: readonly SeenMessage[];
  readonly unfinished: readonly SeenMessage[];
  /** Why it read no further, or null; then the frame's stream. */
  readonly refused: string | null;
  readonly atStream: number;
}

const SETTINGS = Buffer.from('\0\0\0\x04\0\0\0\0\0', 'latin1');
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'), SETTINGS]);

/**
 * Priorities, which we do not read, the reserved bit of WINDOW_UPDATE (RFC 9113 section 6.9), origins that the gate refuses in words,
 * and padding that leaves nothing of a header block, which is not too much of it (section 6.2).
 */
const ONLY_H2_REFUSES = /may not depend on itself|non-compliant data|mismatched :authority and Host|invalid padding/;
/** Written so long, a connection's answers were flooded. */
const MAX_WRITTEN = 1024 * 1024;

/** What must be the same of a request; h2 joins cookies, and so does whoever reads our lists. */
function essence({ fields, body, trailers }: SeenMessage): string {
  const pairs: string[] = [];
  const cookies: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === 'cookie') cookies.push(fields[i + 1]!);
    else pairs.push(`${fields[i]}: ${fields[i + 1]}`);
  }
  return JSON.stringify([pairs, cookies.join('; '), body, trailers]);
}

function compare(ours: Reading, h2: H2Reading, note: (what: string) => void): string | null {
  const theirs = new Map(h2.requests.map((message) => [message.stream, message]));
  for (const message of ours.messages) {
    const other = theirs.get(message.stream);
    if (other !== undefined) {
      if (essence(other) !== essence(message))
        return `h2 reads another request: ${essence(message)} and ${essence(other)}`;
      note('requests that both take');
    } else if (h2.refused === null) {
      return `h2 does not take a request: stream ${message.stream}`;
    } else if (h2.atStream === message.stream && !ONLY_H2_REFUSES.test(h2.refused)) {
      return `h2 refuses a request: ${h2.refused}`;
    } else {
      note('requests behind what h2 refuses');
    }
  }
  const taken = new Set(ours.messages.map(({ stream }) => stream));
  for (const { stream } of h2.requests) {
    if (taken.has(stream)) continue;
    const fault = ours.faults.get(stream) ?? ours.faults.get(0);
    if (fault === undefined) return `a request is lost: stream ${stream}`;
    note(`refused: ${fault}`);
  }
  return null;
}

/** A response is as long as it says, wherever it may say so. */
function checkLengths(ours: Reading): string | null {
  for (const { stream, fields, body } of ours.messages) {
    const [length] = valuesOf(fields, 'content-length');
    const [status] = valuesOf(fields, ':status');
    const mayDiffer = stream === 5 || status === '204' || status === '304';
    if (mayDiffer ? body !== '' : length !== undefined && Number(length) !== body.length) {
      return `a response is not as long as it says: stream ${stream}`;
    }
  }
  return null;
}

function outcomeOf({ messages, events, written }: Reading): string {
  return JSON.stringify([messages, events, written]);
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  const h2 = PythonOracle.start<{ strict: H2Reading }>('h2', 'connections');
  return {
    name: 'http2',
    generate(random) {
      const isServer = random.below(3) > 0;
      const frames = isServer ? generateFrames(random, BOUND_HOST) : generateResponses(random);
      return { isServer, frames, cut: random.below(2 ** 31) };
    },
    async check({ isServer, frames, cut }, note) {
      const role = isServer ? 'server' : 'client';
      const text = frameBytes(frames).toString('latin1').replaceAll(CASE_MARK, '00000000');
      const bytes = Buffer.concat([isServer ? PREFACE : SETTINGS, Buffer.from(text, 'latin1')]);
      const ours = readWithOurs(role, [bytes], false);
      const inPieces = readWithOurs(role, new Random(cut).cut(bytes), false);
      const paused = readWithOurs(role, new Random(cut).cut(bytes), true);
      const misuse = ours.misuse ?? inPieces.misuse ?? paused.misuse;
      if (misuse !== null) return `listeners are called wrongly: ${misuse}`;
      if (outcomeOf(ours) !== outcomeOf(inPieces)) return 'the pieces matter';
      // A reset can overtake what a paused stream has not been told, and frames behind its end find it still there; else it is told the same.
      const whole = new Set(ours.messages.map((message) => JSON.stringify(message)));
      if (ours.faults.size === 0 && paused.messages.some((message) => !whole.has(JSON.stringify(message))))
        return 'pausing matters';
      if (ours.written.length > MAX_WRITTEN) return 'too much is written';
      for (const reason of ours.faults.values()) note(`fault: ${reason}`);
      if (!isServer) {
        for (const _ of ours.messages) note('responses taken');
        return checkLengths(ours);
      }
      return h2 === null ? null : compare(ours, (await h2.read(bytes)).strict, note);
    },
    close: () => h2?.close(),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 10_000);
