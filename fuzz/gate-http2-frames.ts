/**
 * Differential fuzz target for the frames of HTTP/2 clients: what a client sends behind its preface, wrong in few places, goes to the gate
 * and to Python's h2, which reads it with and without its checks of header lists. A request that reached an upstream must be one that h2
 * reads in the client's bytes, for the connection's origin: the same method, path and body, with the same end. Where h2 is not there,
 * the rest of the target's checks are made.
 *
 * `node --conditions=sallyport-source fuzz/gate-http2-frames.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { echo, ECHO_FORMS } from './gate/echo.ts';
import { CASE_MARK, frameBytes, generateFrames, type RawFrame } from './gate/http2-frames.ts';
import { judgeForwarding, LEFT, noteOutcome, openUpstreams, type Arrived } from './gate/http2-upstreams.ts';
import { sendBytes } from './gate/http2-wire.ts';
import { BOUND_HOST, FREE_HOST, settle, withPlaceholders } from './gate/lane.ts';
import { valuesOf } from './http1/field-values.ts';
import type { Random } from './http1/random.ts';
import { PythonOracle } from './python/oracle.ts';

type Case = { isBound: boolean; toHttp1: boolean; frames: RawFrame[]; form: number };

interface H2Request {
  readonly stream: number;
  readonly fields: string[];
  readonly body: string;
  readonly trailers: string[];
}

/** What h2 made of one client's bytes. */
interface H2Reading {
  readonly requests: readonly H2Request[];
  /** Those whose end has not come. */
  readonly unfinished: readonly H2Request[];
  /** Why it read no further, or null; then the frame's stream. */
  readonly refused: string | null;
  readonly atStream: number;
}

interface H2Readings {
  readonly strict: H2Reading;
  readonly lenient: H2Reading;
}

const ANSWER_LIMIT_MS = 1500;
/** Behind this many bytes the gate and Node's client would wait for each other's windows. */
const MAX_CASE_BYTES = 60_000;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');

/** A priority, which our codec does not read, and the reserved bit of WINDOW_UPDATE, which a reader passes over (RFC 9113 section 6.9). */
const ONLY_H2_REFUSES = /may not depend on itself|non-compliant data/;

/** What must be the same of a request for both readers. */
function essence(method: string, target: string, body: string, hosts: readonly string[]): string {
  return JSON.stringify([method, withPlaceholders(target), withPlaceholders(body), hosts]);
}

function essenceOfArrived({ method, target, body, fields }: Arrived): string {
  return essence(method, target, body, [...valuesOf(fields, ':authority'), ...valuesOf(fields, 'host')]);
}

/** As the upstream is to see what h2 read: one authority, in its canonical form. */
function essencesOf(requests: readonly H2Request[], host: string): string[] {
  return requests.map(({ fields, body }) => {
    const named = [...valuesOf(fields, ':authority'), ...valuesOf(fields, 'host')];
    const canonical = new Set(named.map((text) => text.toLowerCase().replace(/:443$/, '').replace(/\.$/, '')));
    const isForHost = canonical.size === 1 && canonical.has(host);
    const [method = ''] = valuesOf(fields, ':method');
    const [target = ''] = valuesOf(fields, ':path');
    return essence(method, target, body, isForHost ? [host] : [`not ${host}: ${named.join()}`]);
  });
}

/** Where the gate forwarded what h2 does not read in the client's bytes. */
function compare(
  { strict, lenient }: H2Readings,
  arrived: readonly Arrived[],
  host: string,
  note: (what: string) => void,
): string | null {
  const byStrict = essencesOf(strict.requests, host);
  const byLenient = essencesOf(lenient.requests, host);
  // HTTP/1 has no other end than the length, which comes before END_STREAM does.
  const wholeByLength = essencesOf(
    [...strict.unfinished, ...lenient.unfinished].filter(
      ({ fields, body }) => valuesOf(fields, 'content-length')[0] === String(body.length),
    ),
    host,
  );
  for (const request of arrived) {
    const wanted = essenceOfArrived(request);
    if (take(byStrict, wanted)) {
      take(byLenient, wanted);
      continue;
    }
    if (take(wholeByLength, wanted)) {
      note('forwarded whole by its length, before its end');
      continue;
    }
    const stream = Number(/\.(\d+)$/.exec(valuesOf(request.fields, 'x-case')[0] ?? '')?.[1] ?? 0);
    if (take(byLenient, wanted)) {
      if (strict.atStream === stream) return `forwarded although h2 refuses its header list: ${strict.refused}`;
      note('forwarded behind what only h2 refuses');
    } else if (lenient.refused === null) {
      return `forwarded otherwise than h2 reads it: ${wanted} and ${byLenient.join()}`;
    } else if (lenient.atStream === stream) {
      if (!ONLY_H2_REFUSES.test(lenient.refused)) return `forwarded although h2 refuses it: ${lenient.refused}`;
      note('forwarded although it has what only h2 refuses');
    } else {
      note('forwarded behind what h2 refuses');
    }
  }
  return null;
}

function take(list: string[], wanted: string): boolean {
  const at = list.indexOf(wanted);
  if (at >= 0) list.splice(at, 1);
  return at >= 0;
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  let form = 0;
  const upstreams = await openUpstreams((request, response) => echo(request, '', response, form));
  const h2 = PythonOracle.start<H2Readings>('h2', 'connections');
  let serial = 0;
  return {
    name: 'gate-http2-frames',
    generate(random: Random) {
      const isBound = random.below(3) > 0;
      return {
        isBound,
        toHttp1: random.oneIn(3),
        frames: generateFrames(random, isBound ? BOUND_HOST : FREE_HOST),
        form: random.below(ECHO_FORMS.length),
      };
    },
    async check(data, note) {
      const host = data.isBound ? BOUND_HOST : FREE_HOST;
      const upstream = upstreams.get(host, data.toHttp1 ? 'http/1.1' : 'h2');
      serial += 1;
      const mark = String(serial).padStart(CASE_MARK.length, '0');
      const bytes = Buffer.from(frameBytes(data.frames).toString('latin1').replaceAll(CASE_MARK, mark), 'latin1');
      if (bytes.length > MAX_CASE_BYTES) return null;
      const read = h2 === null ? null : await h2.read(Buffer.concat([PREFACE, bytes]));
      await upstream.begin();
      form = data.form;
      const socket = await upstream.gate.connectTls(host, 443, { ALPNProtocols: ['h2'] });
      const awaited = read === null ? [1, 3, 5] : read.strict.requests.map(({ stream }) => stream);
      const answers = await sendBytes(socket, bytes, awaited, ANSWER_LIMIT_MS);
      // A late request of the case before must not count as this one's; one whose mark was damaged is of this one.
      const isOurs = ({ fields }: Arrived): boolean => {
        const [marked = ''] = valuesOf(fields, 'x-case');
        return marked.startsWith(mark) || !/^\d{8}\./.test(marked);
      };
      const notes: string[] = [];
      const problem = await settle(async () => {
        notes.length = 0;
        const outcome = await judgeForwarding(upstream, data, isOurs, answers);
        if (outcome === null || typeof outcome === 'string') return outcome;
        noteOutcome(outcome.events, [], (what) => notes.push(what));
        if (read === null) return null;
        if (read.strict.refused !== null) notes.push('connections that h2 refuses');
        return compare(read, outcome.arrived, host, (what) => notes.push(what));
      });
      notes.forEach(note);
      if (notes.includes(LEFT)) await new Promise((resolve) => setTimeout(resolve, 20));
      return problem;
    },
    async close() {
      h2?.close();
      await upstreams.close();
    },
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 1000);
