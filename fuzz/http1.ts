/**
 * Differential fuzz target for the HTTP/1 codec: requests that are wrong in few places are read by our codec, by llhttp (Node's
 * server) and, where python3 can import it, by h11. What we refuse is safe. What we accept, every oracle must either refuse for a
 * known reason or read in the same way: the same method, target, fields, body and end.
 *
 * `node --conditions=sallyport-source fuzz/http1.ts [--seed S] [--iterations N] [--seconds T] [--verbose]`
 */
import { METHODS } from 'node:http';
import { parseArgs } from 'node:util';
import { hasToken } from '../packages/runtime/src/http/fields.ts';
import { isForbiddenTrailer } from '../packages/runtime/src/http/trailers.ts';
import { H11Oracle } from './http1/h11.ts';
import { LlhttpOracle } from './http1/llhttp.ts';
import { readWithOurs, type Reading, type SeenRequest } from './http1/reading.ts';
import { generateConnection, Random } from './http1/requests.ts';

/** Cases that are with the oracles at the same time. */
const BATCH_CASES = 128;
const MAX_FINDINGS = 20;

/** One input that parsers read differently, or that only we accept. */
export interface Finding {
  /** The seed of this one case: `run(seed, 1)` repeats it. */
  readonly seed: number;
  readonly problem: string;
  /** The connection's bytes as a Latin-1 string. */
  readonly input: string;
}

/** What a run did. */
export interface Report {
  readonly cases: number;
  /** Requests that we accepted, sentinels included. */
  readonly accepted: number;
  /** How often an oracle refused, for a known reason, what we accept. */
  readonly explained: Readonly<Record<string, number>>;
  readonly oracles: readonly string[];
  readonly findings: readonly Finding[];
}

/** Runs `iterations` cases, the first with the given seed, each later one with the next; ends early after `deadlineMs` or 20 findings. */
export async function run(seed: number, iterations: number, deadlineMs = Number.POSITIVE_INFINITY): Promise<Report> {
  const h11 = H11Oracle.start();
  const llhttp = new LlhttpOracle();
  const findings: Finding[] = [];
  const explained: Record<string, number> = {};
  const started = performance.now();
  let cases = 0;
  let accepted = 0;
  try {
    while (cases < iterations && findings.length < MAX_FINDINGS && performance.now() - started < deadlineMs) {
      const batch = Array.from({ length: Math.min(BATCH_CASES, iterations - cases) }, (_, index) => {
        const caseSeed = (seed + cases + index) >>> 0;
        const input = generateConnection(new Random(caseSeed));
        const bytes = Buffer.from(input, 'latin1');
        return { caseSeed, input, bytes, fromH11: h11?.read(bytes) };
      });
      for (const { caseSeed, input, bytes, fromH11 } of batch) {
        const report = (problem: string): void => void findings.push({ seed: caseSeed, problem, input });
        const ours = readOurs(bytes, caseSeed, report);
        const theirs = [{ name: llhttp.name, reading: await llhttp.read(bytes) }];
        if (fromH11 !== undefined) theirs.push({ name: 'h11', reading: await fromH11 });
        if (ours === null) continue;
        accepted += ours.requests.length;
        for (const { name, reading } of theirs) {
          const problem = compare(name, ours, reading, explained);
          if (problem !== null) report(`${problem} (ours: ${ours.end}, ${name}: ${reading.end})`);
        }
      }
      cases += batch.length;
    }
  } finally {
    h11?.close();
    llhttp.close();
  }
  return { cases, accepted, explained, oracles: ['llhttp', ...(h11 === null ? [] : ['h11'])], findings };
}

/** Our reading of the input; a finding when its chunking matters or when anything but HttpSyntaxError is thrown. */
function readOurs(bytes: Buffer, seed: number, report: (problem: string) => void): Reading | null {
  try {
    // Copies, because the decoder may move bytes.
    const ours = readWithOurs([Buffer.from(bytes)]);
    const random = new Random(~seed);
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const length = 1 + random.below(random.pick([2, 10, 100]));
      chunks.push(Buffer.from(bytes.subarray(at, at + length)));
      at += length;
    }
    const inChunks = readWithOurs(chunks);
    // A bare LF is seen before the line it is in is complete, so only the reason may differ.
    const isSame =
      JSON.stringify(ours.requests) === JSON.stringify(inChunks.requests) &&
      ours.end.startsWith('refused') === inChunks.end.startsWith('refused');
    if (!isSame) report(`the chunking matters: ${ours.end} or ${inChunks.end}`);
    return ours;
  } catch (error) {
    report(`our codec threw ${String(error)}`);
    return null;
  }
}

function compare(oracle: string, ours: Reading, theirs: Reading, explained: Record<string, number>): string | null {
  for (const [index, request] of ours.requests.entries()) {
    const other = theirs.requests[index];
    if (other === undefined) {
      const reason = explain(oracle, request, theirs);
      if (reason === null) return `${oracle} does not accept request ${index + 1}`;
      explained[reason] = (explained[reason] ?? 0) + 1;
      return null;
    }
    const difference = differenceOf(oracle, request, other);
    if (difference !== null) return `${oracle} sees another ${difference} in request ${index + 1}`;
  }
  if (ours.end === 'in-body' && theirs.requests.length > ours.requests.length) {
    return `${oracle} sees an end of request ${ours.requests.length + 1}, we wait for more`;
  }
  return null;
}

function differenceOf(oracle: string, ours: SeenRequest, theirs: SeenRequest): string | null {
  if (ours.method !== theirs.method) return 'method';
  if (ours.target !== theirs.target) return 'target';
  if (ours.minor !== theirs.minor) return 'version';
  if (ours.body !== theirs.body) return 'body';
  const text = (fields: readonly string[]): string => JSON.stringify(oracle === 'h11' ? asH11Gives(fields) : fields);
  if (text(ours.fields) !== text(theirs.fields)) return 'list of fields';
  const kept: string[] = [];
  for (let i = 0; i < theirs.trailers.length; i += 2) {
    if (!isForbiddenTrailer(theirs.trailers[i]!)) kept.push(theirs.trailers[i]!, theirs.trailers[i + 1]!);
  }
  return text(ours.trailers) === text(kept) ? null : 'list of trailers';
}

/** h11 gives names, and the value of Transfer-Encoding, in lower case. */
function asH11Gives(fields: readonly string[]): string[] {
  return fields.map((text, index) =>
    index % 2 === 0 || fields[index - 1]!.toLowerCase() === 'transfer-encoding' ? text.toLowerCase() : text,
  );
}

/** Why an oracle may refuse what we accept, or null when that is a finding. */
function explain(oracle: string, request: SeenRequest, { requests, end }: Reading): string | null {
  const last = requests.at(-1);
  if (oracle === 'llhttp' && end.startsWith('refused HPE_INVALID_METHOD') && !METHODS.includes(request.method)) {
    return 'llhttp knows only some methods, we pass on any token';
  }
  if (oracle === 'h11' && end === 'refused no request line received') {
    return 'h11 ignores no empty line before a request, we ignore one (RFC 9112 section 2.2)';
  }
  if (oracle === 'llhttp' && last !== undefined && hasToken(last.trailers, 'connection', 'close')) {
    return 'llhttp obeys Connection in trailers, we drop it';
  }
  if (oracle === 'llhttp' && last !== undefined && hasToken(last.fields, 'connection', 'upgrade')) {
    return 'llhttp takes what follows an upgrade for another protocol, we drop the Upgrade field';
  }
  if (end === 'stopped') return `${oracle} reads no further, where we keep an HTTP/1.0 connection or ignore an upgrade`;
  return null;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      iterations: { type: 'string' },
      seconds: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  });
  const seed = Number(values.seed ?? Date.now() % 2 ** 32);
  const seconds = Number(values.seconds ?? Number.POSITIVE_INFINITY);
  const iterations = Number(values.iterations ?? (values.seconds === undefined ? 10_000 : Number.POSITIVE_INFINITY));
  const report = await run(seed, iterations, seconds * 1000);
  const { findings } = report;
  console.log(
    `http1: seed ${seed}, ${report.cases} cases, ${report.accepted} requests accepted, oracles ${report.oracles.join(' and ')}, ${findings.length} findings`,
  );
  if (values.verbose) console.log(report.explained);
  for (const finding of findings) {
    console.log(
      `- ${finding.problem}\n  ${JSON.stringify(finding.input)}\n  repeat: --seed ${finding.seed} --iterations 1`,
    );
  }
  if (findings.length > 0) process.exitCode = 1;
}

if (import.meta.main) await main();
