/**
 * Differential fuzz target for HTTP/2 clients of the whole gate: header lists written by hand, odd in few places, go to an upstream that
 * speaks HTTP/2 (read by nghttp2 and Python's h2) or HTTP/1 (read by llhttp, strict and lenient, and by h11). What was forwarded must be
 * well-formed by a slow reading of RFC 9113, be for the connection's origin, and arrive as it was meant.
 *
 * `node --conditions=sallyport-source fuzz/gate-http2.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { echo, ECHO_FORMS } from './gate/echo.ts';
import {
  judgeForwarding,
  LEFT,
  noteOutcome,
  openUpstreams,
  type Arrived,
  type Upstream,
} from './gate/http2-upstreams.ts';
import { sendStreams, type Pair, type WireAnswer } from './gate/http2-wire.ts';
import { BOUND_HOST, FREE_HOST, PLACEHOLDERS, settle, withPlaceholders } from './gate/lane.ts';
import { valuesOf } from './http1/field-values.ts';
import type { Random } from './http1/random.ts';

type Stream = { fields: Pair[]; body: string; trailers: Pair[] | null; frames: number };
type Case = { isBound: boolean; toHttp1: boolean; streams: Stream[]; form: number };

const ANSWER_LIMIT_MS = 3000;
const ODD_FIELDS: readonly Pair[] = [
  ['host', BOUND_HOST], ['host', 'evil.example'], ['host', ''], ['Host', BOUND_HOST], ['connection', 'close'], ['connection', 'x-a'],
  ['transfer-encoding', 'chunked'], ['keep-alive', '1'], ['proxy-connection', 'x'], ['upgrade', 'websocket'], ['te', 'trailers'], ['te', 'gzip'],
  ['content-length', '0'], ['content-length', '3'], ['content-length', '5'], ['content-length', '-1'], ['content-length', '3, 3'], ['content-length', '+3'],
  [':method', 'POST'], [':path', '/other'], [':authority', 'evil.example'], [':scheme', 'http'], [':status', '200'], [':protocol', 'websocket'], [':x', 'y'],
  ['x-a', 'a\r\nHost: evil.example'], ['x-a', 'a\nx: y'], ['x-a', 'a\r'], ['x-a', 'a\0b'], ['x-a', ' a '], ['x-a', ''], ['x-a', '\xe9'], ['x-a', '\x7f'], ['x-a\r\ny', 'z'],
  ['x a', 'b'], ['x-a:', 'b'], ['', 'b'], ['X-Upper', 'b'], ['x-a\0', 'b'], ['x\xe9', 'b'], ['cookie', 'a=1'], ['cookie', `b=${PLACEHOLDERS.SECURE}`],
  ['range', 'bytes=0-3'], ['accept-encoding', 'gzip, exi'], ['expect', '100-continue'], ['trailer', 'x-sum'], ['x-forwarded-host', 'evil.example'],
  ['proxy-authorization', 'Basic eDp5'], ['content-type', 'application/json'], ['content-type', 'application/grpc'], ['http2-settings', 'AAMAAABkAAQAAP__'],
  ['authorization', `Bearer ${PLACEHOLDERS.SECURE}`], ['authorization', `Bearer ${PLACEHOLDERS.CLEAR}`],
]; // prettier-ignore
const ODD_VALUES: Readonly<Record<string, readonly string[]>> = {
  ':method': [
    'get',
    'POST',
    'HEAD',
    'OPTIONS',
    'CONNECT',
    'TRACE',
    'PUT',
    '',
    'GET ',
    'GET / HTTP/1.1\r\nx: y',
    'BREW',
  ],
  ':path': [
    '',
    '*',
    'a',
    '//evil.example/',
    'https://evil.example/',
    '/ HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    '/a b',
    '/#f',
    '/\\',
    '/\xe9',
    '/\t',
    '/\0',
    `/${PLACEHOLDERS.SECURE}?x=${PLACEHOLDERS.CLEAR}`,
    '/..%2f',
  ],
  ':scheme': ['http', 'HTTPS', '', 'https ', 'ftp', 'https://x'],
  ':authority': [
    'evil.example',
    '',
    'BOUND.EXAMPLE',
    'bound.example.',
    'bound.example:443',
    'bound.example:80',
    'x@bound.example',
    'bound.example/',
    'bound.example\r\n',
    'bound.example\0',
    'bound.example, evil.example',
    'bound%2eexample',
    FREE_HOST,
    BOUND_HOST,
  ],
};

function generateStream(random: Random, host: string, index: number): Stream {
  const rarity = random.pick([4, 12, 1000]);
  const hasBody = random.oneIn(3);
  const body = hasBody
    ? random.pick([
        'abc',
        'abcde',
        PLACEHOLDERS.SECURE,
        'x'.repeat(20_000),
        '0\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n',
      ])
    : '';
  let fields: Pair[] = [
    [':method', hasBody ? 'POST' : 'GET'],
    [':scheme', 'https'],
    [':authority', host],
    [':path', '/a?b=c'],
  ];
  fields = fields.flatMap(([name, value]): Pair[] => {
    if (random.oneIn(rarity * 4))
      return random.oneIn(2)
        ? []
        : [
            [name, value],
            [name, value],
          ];
    return [[name, random.oneIn(rarity * 3) ? random.pick(ODD_VALUES[name] ?? ['']) : value]];
  });
  if (hasBody && random.oneIn(2)) fields.push(['content-length', String(body.length)]);
  if (random.oneIn(2)) fields.push(['authorization', `Bearer ${PLACEHOLDERS.SECURE}`]);
  for (let left = random.below(3); left > 0; left -= 1) {
    const field = random.oneIn(rarity)
      ? random.pick(ODD_FIELDS)
      : (['x-a', random.pick(['a', 'b', PLACEHOLDERS.CLEAR])] as Pair);
    fields.splice(random.oneIn(6) ? random.below(fields.length + 1) : fields.length, 0, field);
  }
  fields.push(['x-case', String(index)]);
  const trailers: Pair[] | null = random.oneIn(8)
    ? [random.oneIn(2) ? ['x-sum', random.pick(['1', PLACEHOLDERS.SECURE])] : random.pick(ODD_FIELDS)]
    : null;
  return { fields, body, trailers, frames: random.oneIn(4) ? 1 + random.below(5) : 1 };
}

/** Why a request must not be forwarded by RFC 9113, sections 8.1.1, 8.2 and 8.3, and for that origin; null for a good one. */
function faultOf({ fields, body, trailers }: Stream, host: string): string | null {
  if (![...fields, ...(trailers ?? [])].every(isSendable)) return 'a field that cannot be sent';
  const pseudo = fields.filter(([name]) => name.startsWith(':'));
  const plain = fields.filter(([name]) => !name.startsWith(':'));
  if (fields.findLastIndex(([name]) => name.startsWith(':')) >= pseudo.length) return 'a pseudo-header behind fields';
  const values = (name: string): string[] => fields.filter(([other]) => other === name).map(([, value]) => value);
  for (const [name] of pseudo)
    if (![':method', ':scheme', ':path', ':authority'].includes(name) || values(name).length !== 1)
      return `${name} is unknown or repeated`;
  const [method] = values(':method');
  const [path] = values(':path');
  if (method === undefined || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method) || method === 'CONNECT') return ':method';
  if (
    path === undefined ||
    !(path.startsWith('/') || (path === '*' && method === 'OPTIONS')) ||
    /[^!-~\x80-\xff]/.test(path)
  )
    return ':path';
  if (values(':scheme').join() !== 'https') return ':scheme';
  const authorities = [...values(':authority'), ...values('host')];
  if (authorities.length === 0) return 'no authority';
  for (const text of authorities)
    if (text.toLowerCase().replace(/:443$/, '').replace(/\.$/, '') !== host) return 'another authority';
  for (const [name, value] of [...plain, ...(trailers ?? [])]) {
    if (['connection', 'transfer-encoding', 'keep-alive', 'proxy-connection', 'upgrade'].includes(name)) return name;
    if (name === 'te' && value !== 'trailers') return 'te';
  }
  const lengths = values('content-length');
  if (lengths.length > 1 || lengths.some((length) => length !== String(body.length))) return 'content-length';
  return null;
}

/** Whether a field can be sent at all (RFC 9113 section 8.2.1). */
function isSendable([name, value]: Pair): boolean {
  // oxlint-disable-next-line no-control-regex -- what a field value must not hold
  return /^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) && !/[\0-\x08\n-\x1f\x7f]|^[ \t]|[ \t]$/.test(value);
}

/** A case made smaller may have lost half a pair, or what says which stream is which. */
function isWhole({ fields, trailers }: Stream, index: number): boolean {
  const [name, value] = fields.at(-1) ?? [];
  return (
    [...fields, ...(trailers ?? [])].every((pair) => pair.length === 2) && name === 'x-case' && value === String(index)
  );
}

function compare(stream: Stream, arrived: Arrived, host: string): string | null {
  const fault = faultOf(stream, host);
  if (fault !== null) return `forwarded although malformed: ${fault}`;
  const meant = (name: string): string[] => stream.fields.filter(([other]) => other === name).map(([, value]) => value);
  const got = (name: string): string[] => valuesOf(arrived.fields, name);
  const pairs = arrived.fields.flatMap((name, index): Pair[] =>
    index % 2 === 0 ? [[name, arrived.fields[index + 1]!]] : [],
  );
  const odd = pairs.find(([name, value]) => !isSendable([name.toLowerCase(), value]));
  if (odd !== undefined) return `a field arrived that cannot be sent: ${JSON.stringify(odd)}`;
  if (arrived.method !== meant(':method')[0]) return 'another method';
  if (withPlaceholders(arrived.target) !== meant(':path')[0]) return `another path: ${JSON.stringify(arrived.target)}`;
  if ([...got(':authority'), ...got('host')].join() !== host)
    return `another authority: ${JSON.stringify(arrived.fields)}`;
  if (meant('content-type').length === 0 && withPlaceholders(arrived.body) !== stream.body) return 'another body';
  const trimmed = meant('x-a').map((value) => value.trim());
  if (withPlaceholders(got('x-a').join(', ')) !== trimmed.join(', '))
    return `another x-a: ${JSON.stringify(got('x-a'))}`;
  return null;
}

function caseOf({ fields }: Arrived): string {
  const at = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'x-case');
  return at < 0 ? '' : (fields[at + 1] ?? '');
}

async function judge(
  data: Case,
  upstream: Upstream,
  prefix: string,
  answers: readonly WireAnswer[],
  note: (what: string) => void,
): Promise<string | null> {
  const host = data.isBound ? BOUND_HOST : FREE_HOST;
  const outcome = await judgeForwarding(upstream, data, (request) => caseOf(request).startsWith(prefix), answers);
  if (outcome === null || typeof outcome === 'string') return outcome;
  const { arrived, events } = outcome;
  for (const request of arrived) {
    const stream = data.streams[Number(caseOf(request).slice(prefix.length))];
    if (stream === undefined) return 'a request arrived that nobody sent';
    const difference = compare(stream, request, host);
    if (difference !== null) return difference;
  }
  noteOutcome(events, answers, note);
  return null;
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  let form = 0;
  const upstreams = await openUpstreams((request, response) => echo(request, '', response, form));
  let serial = 0;
  return {
    name: 'gate-http2',
    generate(random) {
      const isBound = random.below(3) > 0;
      const host = isBound ? BOUND_HOST : FREE_HOST;
      return {
        isBound,
        toHttp1: random.oneIn(2),
        streams: Array.from({ length: 1 + random.below(3) }, (_, index) => generateStream(random, host, index)),
        form: random.below(ECHO_FORMS.length),
      };
    },
    async check(data, note) {
      if (!data.streams.every(isWhole)) return null;
      const host = data.isBound ? BOUND_HOST : FREE_HOST;
      const upstream = upstreams.get(host, data.toHttp1 ? 'http/1.1' : 'h2');
      await upstream.begin();
      form = data.form;
      serial += 1;
      const socket = await upstream.gate.connectTls(host, 443, { ALPNProtocols: ['h2'] });
      // What a broken stream of the case before still sends must not count as this one's.
      const prefix = `${serial}.`;
      const streams = data.streams.map((stream) => ({
        ...stream,
        fields: stream.fields.map(([name, value]): Pair => [name, name === 'x-case' ? prefix + value : value]),
      }));
      const answers = await sendStreams(socket, streams, ANSWER_LIMIT_MS);
      const notes: string[] = [];
      const problem = await settle(async () => {
        notes.length = 0;
        return judge(data, upstream, prefix, answers, (what) => notes.push(what));
      });
      notes.forEach(note);
      if (notes.includes(LEFT)) await new Promise((resolve) => setTimeout(resolve, 20));
      return problem;
    },
    close: () => upstreams.close(),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 1000);
