/**
 * Differential fuzz target for responses, as `http1.ts` is for requests: what our codec accepts, Node's client (llhttp) and h11
 * must either refuse for a known reason or read in the same way: the same status, fields and body.
 *
 * `node --conditions=sallyport-source fuzz/http1-responses.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { PythonOracle } from './python/oracle.ts';
import { hasTabAfterChunked } from './http1/llhttp.ts';
import { Random } from './http1/random.ts';
import {
  generateResponses,
  knowsNoTransferCoding,
  readResponseWithLlhttp,
  readResponseWithOurs,
  type ResponseReading,
} from './http1/responses.ts';

type Case = { method: string; bytes: string; cut: number };

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  const h11 = PythonOracle.start<ResponseReading>('h11', 'responses');
  return {
    name: 'http1-responses',
    generate: (random) => ({
      method: random.oneIn(6) ? 'HEAD' : 'GET',
      bytes: generateResponses(random),
      cut: random.below(2 ** 31),
    }),
    async check({ method, bytes: input, cut }, note) {
      if (method !== 'GET' && method !== 'HEAD') return null;
      const bytes = Buffer.from(input, 'latin1');
      const ours = readResponseWithOurs([Buffer.from(bytes)], method);
      const inChunks = readResponseWithOurs(new Random(cut).cut(bytes), method);
      if (JSON.stringify(ours.response) !== JSON.stringify(inChunks.response))
        return `the chunking matters: ${ours.end} or ${inChunks.end}`;
      if (ours.response === null) return null;
      note('messages accepted');
      // llhttp gets exactly the bytes that we took for the response, because it refuses more: whether it ends it earlier or later
      // shows. h11 leaves what follows alone and gets all, so that it sees a body that goes on where we saw its end.
      const taken = bytes.subarray(0, ours.bytesRead);
      const theirs = [{ name: 'llhttp', reading: await readResponseWithLlhttp(taken, method) }];
      if (h11 !== null)
        theirs.push({ name: 'h11', reading: await h11.read(Buffer.concat([Buffer.from(method.slice(0, 1)), bytes])) });
      for (const { name, reading } of theirs) {
        const problem = compare(name, ours.response, reading);
        if (problem === null) continue;
        if (name === 'llhttp' && hasTabAfterChunked(input)) note('llhttp keeps HTAB after "chunked"');
        else if (name === 'h11' && knowsNoTransferCoding(reading)) note('h11 knows no transfer coding but chunked');
        else return `${problem}, in the answer to ${method}`;
      }
      return null;
    },
    close: () => h11?.close(),
  };
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

if (import.meta.main) await runFromCommandLine(openTarget, 10_000);
