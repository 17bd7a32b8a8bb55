/**
 * Fuzz target for the pure part of HTTP/2 requests: header lists that the codec lets pass, and some that it does not, become heads, are
 * rewritten, and become the header list of an HTTP/2 upstream and the head of an HTTP/1 one.
 *
 * `node --conditions=sallyport-source fuzz/http2-heads.ts [--seed S] [--iterations N] [--seconds T]`
 */

import { readRequestHead, requestFields } from '../packages/runtime/src/gate/http2-fields.ts';
import { createNetworkPolicy } from '../packages/runtime/src/policy/network-policy.ts';
import { rewriteRequest, type RequestContext } from '../packages/runtime/src/gate/request-rewrite.ts';
import { hostFieldFor } from '../packages/runtime/src/http/authority.ts';
import { encodeRequestHead } from '../packages/runtime/src/http/encoder.ts';
import { HttpSyntaxError } from '../packages/runtime/src/http/http-syntax-error.ts';
import type { Authority } from '../packages/runtime/src/http/message.ts';
import { createSecretSet } from '../packages/runtime/src/secrets/secret-set.ts';
import { parseLocations, parseSecretSpec } from '../packages/runtime/src/secrets/secret-spec.ts';
import { Substituter } from '../packages/runtime/src/secrets/substitute.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { BOUND_HOST, CANARIES, canariesIn, FREE_HOST, PLACEHOLDERS } from './gate/lane.ts';
import { valuesOf } from './http1/field-values.ts';
import { LlhttpOracle } from './http1/llhttp.ts';

type Field = { name: string; value: string };
type Case = { isBound: boolean; fields: Field[] };

const CONNECTION_SPECIFIC = /^(connection|keep-alive|proxy-connection|transfer-encoding|upgrade|host)$/;
const METHODS = ['GET', 'POST', 'OPTIONS', 'HEAD', 'TRACE', 'CONNECT', 'GET x', ''];
const PATHS = [
  '/',
  '/a?b',
  '*',
  '/a b',
  `/${PLACEHOLDERS.SECURE}?q=${PLACEHOLDERS.SECURE}`,
  '/\xe9',
  '/#',
  'https://evil.example/',
  '/\r\nHost: evil.example',
  '',
];
const AUTHORITIES = [
  BOUND_HOST,
  FREE_HOST,
  'bound.example:443',
  'BOUND.EXAMPLE.',
  'evil.example',
  'x@bound.example',
  '',
];
const NAMES = [
  'x-a',
  'authorization',
  'cookie',
  'cookie',
  'host',
  'te',
  'connection',
  'transfer-encoding',
  'content-length',
  'range',
  'accept-encoding',
  'upgrade',
  'expect',
  'trailer',
  '__proto__',
  'constructor',
  'x y',
  'X-A',
  ':odd',
  'proxy-authorization',
  'grpc-timeout',
  'x-api-key',
];
const VALUES = [
  'a',
  '',
  'trailers',
  'chunked',
  '3',
  '0',
  BOUND_HOST,
  `Bearer ${PLACEHOLDERS.SECURE}`,
  PLACEHOLDERS.CLEAR,
  `Basic ${Buffer.from(`u:${PLACEHOLDERS.SECURE}`).toString('base64')}`,
  'a\r\nHost: evil.example',
  'websocket',
  'gzip, exi',
  '\xe9',
  'x-a',
];

function openContext(): RequestContext {
  const inputs = [`CLEAR=${CANARIES.CLEAR}@http://${BOUND_HOST}`, `SECURE=${CANARIES.SECURE}@${BOUND_HOST}`].map(
    (text) => {
      const spec = parseSecretSpec(text);
      if (spec.kind !== 'bound' || spec.value === undefined) throw new TypeError('a spec with a value');
      return { env: spec.env, value: spec.value, hosts: spec.hosts };
    },
  );
  const secrets = createSecretSet({
    inputs,
    locations: parseLocations(['header,basic,query,path']),
    plainNames: [],
    placeholderFor: (env) => PLACEHOLDERS[env as keyof typeof PLACEHOLDERS],
  });
  const substituter = new Substituter(secrets.secrets);
  // Heads alone: what a body needs is not consulted.
  return { policy: createNetworkPolicy({}), secrets, substituter, redacts: true } as unknown as RequestContext;
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  const context = openContext();
  const llhttp = new LlhttpOracle();
  return {
    name: 'http2-heads',
    generate(random) {
      const isBound = random.below(3) > 0;
      const one = (name: string, usual: string, odd: readonly string[]): Field[] =>
        random.oneIn(30) ? [] : [{ name, value: random.oneIn(6) ? random.pick(odd) : usual }];
      const fields = [
        ...one(':method', 'GET', METHODS),
        ...one(':scheme', 'https', ['http', 'HTTPS', '']),
        ...one(':authority', isBound ? BOUND_HOST : FREE_HOST, AUTHORITIES),
        ...one(':path', '/a', PATHS),
      ];
      for (let left = random.below(5); left > 0; left -= 1)
        fields.push({ name: random.pick(NAMES), value: random.pick(VALUES) });
      return { isBound, fields };
    },
    async check({ isBound, fields }, note) {
      const origin: Authority = { scheme: 'https', host: isBound ? BOUND_HOST : FREE_HOST, port: 443 };
      const { head } = readRequestHead(fields.flatMap(({ name, value }) => [name, value]));
      let verdict;
      try {
        verdict = rewriteRequest(context, origin, head, false);
      } catch (error) {
        if (!(error instanceof HttpSyntaxError)) throw error;
        note(`refused ${error.code}`);
        return null;
      }
      if (verdict.verdict === 'answer') {
        note(`refused ${verdict.problem.code}`);
        return null;
      }
      note('forwarded');
      const list = requestFields(verdict.head, verdict.authority, hostFieldFor(verdict.authority), head);
      if (
        valuesOf(list.fields, ':authority').join('|') !== origin.host ||
        valuesOf(list.fields, ':scheme').join('|') !== 'https'
      )
        return `another authority: ${valuesOf(list.fields, ':authority').join('|')}`;
      const bound = isBound ? (['CLEAR'] as const) : (['CLEAR', 'SECURE'] as const);
      for (const [index, name] of list.fields.entries()) {
        if (index % 2 !== 0) continue;
        const text = list.fields[index + 1] ?? '';
        if (canariesIn(`${name}\n${text}`, bound).length > 0) return `a value goes where it is not bound: in ${name}`;
        if (canariesIn(text, ['SECURE']).length > 0 && !list.sensitive.has(name))
          return `a value may be indexed: in ${name}`;
        if (name !== name.toLowerCase()) return `a name is not in lower case: ${name}`;
        if (CONNECTION_SPECIFIC.test(name)) return `a field that HTTP/2 does not have: ${name}`;
        if (
          name.startsWith(':') &&
          ![':method', ':scheme', ':authority', ':path'].includes(name) &&
          !fields.some((field) => field.name === name)
        )
          return `an unknown pseudo-header: ${name}`;
      }
      let text: string;
      try {
        text = encodeRequestHead(verdict.head);
      } catch (error) {
        if (!(error instanceof HttpSyntaxError)) throw error;
        note('not to be written in HTTP/1');
        return null;
      }
      if (canariesIn(text, bound).length > 0) return 'a value goes where it is not bound: in the HTTP/1 head';
      // The body that the framing announces, so that the request is whole.
      const { framing } = verdict;
      if (framing.kind === 'length' && framing.bytes > 1000) return null;
      const body =
        framing.kind === 'chunked' ? '0\r\n\r\n' : framing.kind === 'length' ? 'x'.repeat(framing.bytes) : '';
      const { requests, end } = await llhttp.read(Buffer.from(text + body, 'latin1'));
      const [seen] = requests;
      if (requests.length !== 1 || seen === undefined) {
        if (end.startsWith('refused HPE_INVALID_METHOD')) return null;
        return `llhttp sees ${requests.length} requests: ${end}`;
      }
      const hosts = valuesOf(seen.fields, 'host');
      if (hosts.join('|') !== origin.host) return `llhttp sees another Host: ${hosts.join('|')}`;
      return seen.method === verdict.head.method && seen.target === verdict.head.target
        ? null
        : 'llhttp sees another request line';
    },
    close: () => llhttp.close(),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 10_000);
