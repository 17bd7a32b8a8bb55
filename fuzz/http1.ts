/**
 * Differential fuzz target for the HTTP/1 codec: requests that are wrong in few places are read by our codec, by llhttp (Node's
 * server) and by h11. What we refuse is safe. What we accept, every oracle must either refuse for a
 * known reason or read in the same way: the same method, target, fields, body and end.
 *
 * `node --conditions=sallyport-source fuzz/http1.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { METHODS } from 'node:http';
import { hasToken } from '../packages/runtime/src/http/fields.ts';
import { isForbiddenTrailer } from '../packages/runtime/src/http/trailers.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { PythonOracle } from './python/oracle.ts';
import { hasTabAfterChunked, LlhttpOracle } from './http1/llhttp.ts';
import { Random } from './http1/random.ts';
import { readWithOurs, type Reading, type SeenRequest } from './http1/reading.ts';
import { generateConnection } from './http1/requests.ts';

type Case = { bytes: string; cut: number };

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  const h11 = PythonOracle.start<Reading>('h11', 'requests');
  const llhttp = new LlhttpOracle();
  return {
    name: 'http1',
    generate: (random) => ({ bytes: generateConnection(random), cut: random.below(2 ** 31) }),
    async check({ bytes: input, cut }, note) {
      const bytes = Buffer.from(input, 'latin1');
      // Copies, because the decoder may move bytes.
      const ours = readWithOurs([Buffer.from(bytes)]);
      const inChunks = readWithOurs(new Random(cut).cut(bytes));
      // A bare LF is seen before the line it is in is complete, so only the reason may differ.
      const isSame =
        JSON.stringify(ours.requests) === JSON.stringify(inChunks.requests) &&
        ours.end.startsWith('refused') === inChunks.end.startsWith('refused');
      if (!isSame) return `the chunking matters: ${ours.end} or ${inChunks.end}`;
      for (const _ of ours.requests) note('messages accepted');
      const theirs = [{ name: 'llhttp', reading: await llhttp.read(bytes) }];
      if (h11 !== null) theirs.push({ name: 'h11', reading: await h11.read(bytes) });
      for (const { name, reading } of theirs) {
        const problem = compare(name, ours, reading, note);
        if (problem === null) continue;
        if (name === 'llhttp' && hasTabAfterChunked(input)) note('llhttp keeps HTAB after "chunked"');
        else return `${problem}: ours ends ${ours.end}, ${name} ${reading.end}`;
      }
      return null;
    },
    close() {
      h11?.close();
      llhttp.close();
    },
  };
}

function compare(oracle: string, ours: Reading, theirs: Reading, note: (what: string) => void): string | null {
  for (const [index, request] of ours.requests.entries()) {
    const other = theirs.requests[index];
    if (other === undefined) {
      const reason = explain(oracle, request, theirs);
      if (reason === null) return `${oracle} does not accept request ${index + 1}`;
      note(reason);
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

if (import.meta.main) await runFromCommandLine(openTarget, 10_000);
