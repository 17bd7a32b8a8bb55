/**
 * Differential fuzz target for responses, as `http1.ts` is for requests: what our codec accepts, Node's client (llhttp) and h11
 * must either refuse for a known reason or read in the same way: the same status, fields and body.
 *
 * `node --conditions=sallyport-source fuzz/http1-responses.ts [--seed S] [--iterations N] [--seconds T] [--verbose]`
 */
import { type CaseLog, type Report, runFromCommandLine, runTarget } from './http1/driver.ts';
import { H11Oracle } from './http1/h11.ts';
import { hasTabAfterChunked } from './http1/llhttp.ts';
import { Random } from './http1/random.ts';
import {
  generateResponses,
  readResponseWithLlhttp,
  readResponseWithOurs,
  type ResponseReading,
} from './http1/responses.ts';

/** Runs `iterations` cases, the first with the given seed, each later one with the next; ends early after `deadlineMs` or 20 findings. */
export async function run(seed: number, iterations: number, deadlineMs = Number.POSITIVE_INFINITY): Promise<Report> {
  const h11 = H11Oracle.start<ResponseReading>('responses');
  const begin = (caseSeed: number) => {
    const random = new Random(caseSeed);
    const method = random.oneIn(6) ? 'HEAD' : 'GET';
    const input = generateResponses(random);
    const bytes = Buffer.from(input, 'latin1');
    let begun: {
      ours: NonNullable<ResponseReading['response']>;
      bytes: Buffer;
      fromH11: Promise<ResponseReading> | undefined;
    } | null = null;
    const problems: string[] = [];
    const read = readOurs(bytes, method, random, problems);
    if (read?.response != null) {
      // llhttp gets exactly the bytes that we took for the response, because it refuses more: whether it ends it earlier or later
      // shows. h11 leaves what follows alone and gets all, so that it sees a body that goes on where we saw its end.
      const taken = bytes.subarray(0, read.bytesRead);
      const fromH11 = h11?.read(Buffer.concat([Buffer.from(method.slice(0, 1)), bytes]));
      begun = { ours: read.response, bytes: taken, fromH11 };
    }
    const judge = async (log: CaseLog): Promise<void> => {
      for (const problem of problems) log.find(problem);
      if (begun === null) return;
      log.accept(1);
      const theirs = [{ name: 'llhttp', reading: await readResponseWithLlhttp(begun.bytes, method) }];
      if (begun.fromH11 !== undefined) theirs.push({ name: 'h11', reading: await begun.fromH11 });
      for (const { name, reading } of theirs) {
        const problem = compare(name, begun.ours, reading);
        if (problem === null) continue;
        if (name === 'llhttp' && hasTabAfterChunked(input)) log.explain('llhttp keeps HTAB after "chunked"');
        else log.find(`${problem}, the answer to ${method}`);
      }
    };
    return { input, judge };
  };
  const oracles = ['llhttp', ...(h11 === null ? [] : ['h11'])];
  return await runTarget({ oracles, begin, close: () => h11?.close() }, seed, iterations, deadlineMs);
}

function readOurs(
  bytes: Buffer,
  method: string,
  random: Random,
  problems: string[],
): ReturnType<typeof readResponseWithOurs> | null {
  try {
    const ours = readResponseWithOurs([Buffer.from(bytes)], method);
    const inChunks = readResponseWithOurs(random.cut(bytes), method);
    if (JSON.stringify(ours.response) !== JSON.stringify(inChunks.response)) {
      problems.push(`the chunking matters: ${ours.end} or ${inChunks.end}`);
    }
    return ours;
  } catch (error) {
    problems.push(`our codec threw ${String(error)}`);
    return null;
  }
}

function compare(
  oracle: string,
  ours: NonNullable<ResponseReading['response']>,
  { response: theirs, end }: ResponseReading,
): string | null {
  if (theirs === null) return `${oracle} does not accept the response (${end})`;
  if (ours.status !== theirs.status) return `${oracle} sees another status`;
  if (ours.body !== theirs.body) return `${oracle} sees another body`;
  const text = (fields: readonly string[]): string => JSON.stringify(fields).toLowerCase();
  return text(ours.fields) === text(theirs.fields) ? null : `${oracle} sees another list of fields`;
}

if (import.meta.main) await runFromCommandLine('http1-responses', run);
