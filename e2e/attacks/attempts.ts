/** The host that the secret is bound to. */
export const BOUND = 'api.bound.example';
/** Another host that is allowed, at the very same upstream: what it gets is seen. */
export const OTHER = 'api.other.example';
/** A host that a second secret is bound to. */
export const SECOND = 'api.second.example';

/** One connection of `programs/wire.py`. */
export interface Job {
  readonly name: string;
  readonly host?: string;
  readonly address?: string;
  readonly port: number;
  readonly tls?: boolean;
  readonly sni?: string | null;
  readonly alpn?: readonly string[];
  readonly send?: readonly string[];
  readonly raw_hello?: string;
  readonly timeout?: number;
}

/** What wire.py reports of a job. */
export interface JobResult {
  readonly name: string;
  readonly received: string;
  readonly end: string;
  readonly alpn?: string | null;
}

/** What has to come of an attempt: an answer's status and code, and the audit event. */
interface Expectation {
  /** The last status that came back; `null`: no answer at all. */
  readonly status: number | null | readonly (number | null)[];
  readonly code?: string;
  /** The audit event that must be there: its code, for the host of the connection. */
  readonly audited?: string;
  /** Whether the upstream may see a request of this attempt; with which credential is judged for all alike. Default false. */
  readonly arrives?: boolean | 'perhaps';
  /** Whether the upstream must get the value. Default false: it must not. */
  readonly released?: boolean;
}

export type Attempt = Job & { readonly expect: Expectation };

const credential = 'Authorization: Bearer {API_TOKEN}';
/** The text of a request with the credential's placeholder. */
export const request = (name: string, lines: readonly string[], target = `/attempt/${name}`, method = 'GET'): string =>
  `${[`${method} ${target} HTTP/1.1`, ...lines, credential].join('\r\n')}\r\n\r\n`;

/** A request over TLS to the bound host, whose lines are the attempt. */
export function toBound(name: string, lines: readonly string[], expect: Expectation, more: Partial<Job> = {}): Attempt {
  return { name, host: BOUND, port: 443, send: [request(name, lines)], ...more, expect };
}

const MISMATCH: Expectation = { status: 421, code: 'AUTHORITY_MISMATCH', audited: 'AUTHORITY_MISMATCH' };
const MALFORMED: Expectation = { status: 400, code: 'MALFORMED_REQUEST', audited: 'MALFORMED_REQUEST' };
/** Another spelling of the bound host. */
export const SAME_HOST: Expectation = { status: 200, arrives: true, released: true };

/** A ClientHello whose server name is any bytes: clients' libraries would not send it. */
function rawHello(names: readonly Buffer[]): string {
  const entries = Buffer.concat(
    names.map((name) => Buffer.concat([Buffer.from([0, name.length >> 8, name.length & 255]), name])),
  );
  const list = Buffer.concat([Buffer.from([entries.length >> 8, entries.length & 255]), entries]);
  const extension = Buffer.concat([Buffer.from([0, 0, list.length >> 8, list.length & 255]), list]);
  const extensions = Buffer.concat([Buffer.from([extension.length >> 8, extension.length & 255]), extension]);
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([0, 0, 2, 0x13, 0x01, 1, 0]),
    extensions,
  ]);
  const handshake = Buffer.concat([Buffer.from([1, 0, body.length >> 8, body.length & 255]), body]);
  return Buffer.concat([Buffer.from([22, 3, 1, handshake.length >> 8, handshake.length & 255]), handshake]).toString(
    'hex',
  );
}

const smuggled = `GET /smuggled HTTP/1.1\r\nHost: ${OTHER}\r\n${credential}\r\n\r\n`;
/** Honest requests; without them no attempt means anything. The last ones are other spellings of the same host, and leave in its canonical form. */
export const CONTROLS: readonly Attempt[] = [
  toBound('control', [`Host: ${BOUND}`], SAME_HOST),
  toBound('control-with-port', [`Host: ${BOUND}:443`], SAME_HOST),
  toBound('control-absolute', [], SAME_HOST, {
    send: [request('control-absolute', [`Host: ${BOUND}`], `https://${BOUND}/attempt/control-absolute`)],
  }),
  // Other spellings of the same host: they are that host, and leave in its canonical form.
  toBound('case', [`Host: ${BOUND.toUpperCase()}`], SAME_HOST),
  toBound('trailing-dot', [`Host: ${BOUND}.`], SAME_HOST),
  toBound('sni-case', [`Host: ${BOUND}`], SAME_HOST, { sni: BOUND.toUpperCase() }),
  toBound('h2-offered', [`Host: ${BOUND}`], SAME_HOST, { alpn: ['h2', 'http/1.1'] }),
  { ...toBound('other-honest', [`Host: ${OTHER}`], { status: 200, arrives: true }), host: OTHER },
  { ...toBound('second-honest', [`Host: ${SECOND}`], { status: 200, arrives: true }), host: SECOND },
];

/** Whose request is it? A connection to the bound host, or one that pretends to be, and a request that says another. */
export const AUTHORITY_ATTEMPTS: readonly Attempt[] = [
  // Host is not the connection's.
  toBound('host-of-another', [`Host: ${OTHER}`], MISMATCH),
  toBound('host-of-second-secret', [`Host: ${SECOND}`], MISMATCH),
  toBound('host-other-port', [`Host: ${BOUND}:80`], MISMATCH),
  toBound('host-parent', ['Host: bound.example'], MISMATCH),
  toBound('host-address', ['Host: 127.0.0.1'], MISMATCH),
  toBound('host-two', [`Host: ${BOUND}`, `Host: ${OTHER}`], MALFORMED),
  toBound('host-twice', [`Host: ${BOUND}`, `host: ${BOUND}`], MALFORMED),
  toBound('host-missing', [], MALFORMED),
  toBound('host-empty', ['Host:'], MALFORMED),
  toBound('host-list', [`Host: ${BOUND}, ${OTHER}`], MALFORMED),
  toBound('host-user', [`Host: ${BOUND}@${OTHER}`], MALFORMED),
  toBound('host-port-zero-padded', [`Host: ${BOUND}:0443`], MALFORMED),
  toBound('host-port-twice', [`Host: ${BOUND}:443:80`], MALFORMED),
  toBound('host-port-empty', [`Host: ${BOUND}:`], MALFORMED),

  // The target is not the connection's.
  ...(
    [
      ['absolute-other', `https://${OTHER}/x`, MISMATCH],
      ['absolute-http', `http://${BOUND}/x`, MISMATCH],
      ['absolute-port', `https://${BOUND}:8443/x`, MISMATCH],
      ['absolute-user', `https://${BOUND}@${OTHER}/x`, MALFORMED],
      ['absolute-backslash', `https://${OTHER}\\@${BOUND}/x`, MALFORMED],
      ['absolute-fragment', `https://${OTHER}#@${BOUND}/x`, MALFORMED],
      ['absolute-ftp', `ftp://${BOUND}/x`, MALFORMED],
      ['target-relative', 'x', MALFORMED],
    ] as const
  ).map(([name, target, expect]) => toBound(name, [], expect, { send: [request(name, [`Host: ${BOUND}`], target)] })),
  toBound('absolute-bound-host-other', [], MISMATCH, {
    send: [request('absolute-bound-host-other', [`Host: ${OTHER}`], `https://${BOUND}/x`)],
  }),
  toBound('connect', [], { status: 405, code: 'METHOD_REFUSED', audited: 'METHOD_REFUSED' }, {
    send: [request('connect', [`Host: ${OTHER}:443`], `${OTHER}:443`, 'CONNECT')],
  }),
  toBound('trace', [], { status: [200, 405], arrives: true }, {
    send: [request('trace', [`Host: ${BOUND}`], '/attempt/trace', 'TRACE')],
  }),
  // A connection that was good for one request is not good for another host.
  toBound('keep-alive', [], { ...MISMATCH, arrives: true, released: true }, {
    send: [request('keep-alive', [`Host: ${BOUND}`]), request('keep-alive-other', [`Host: ${OTHER}`])],
  }),
  toBound('pipelined', [], { ...MISMATCH, arrives: true, released: true }, {
    send: [request('pipelined', [`Host: ${BOUND}`]) + request('pipelined-other', [`Host: ${OTHER}`])],
  }),

  // The server name is not the destination's.
  toBound('sni-other', [`Host: ${BOUND}`], MISMATCH, { sni: OTHER }),
  toBound('sni-other-host-other', [`Host: ${OTHER}`], MISMATCH, { sni: OTHER }),
  toBound('sni-missing', [`Host: ${BOUND}`], { status: 421, code: 'SNI_MISSING', audited: 'SNI_MISSING' }, { sni: null }),
  { ...toBound('other-with-bound-sni', [`Host: ${BOUND}`], MISMATCH, { sni: BOUND }), host: OTHER },
  { ...toBound('other-with-bound-host', [`Host: ${BOUND}`], MISMATCH), host: OTHER },
  { name: 'not-tls', host: BOUND, port: 443, tls: false, send: [request('not-tls', [`Host: ${BOUND}`])], expect: { status: null, audited: 'MALFORMED_REQUEST' } },
  toBound('h2-prior-knowledge', [], { ...MALFORMED, status: 505 }, { send: ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'] }),

  // In clear, and on another port of the same host.
  toBound('downgrade', [`Host: ${BOUND}`], { status: 200, arrives: true }, { port: 80, tls: false }),
  toBound('downgrade-absolute-https', [], MISMATCH, {
    port: 80, tls: false, send: [request('downgrade-absolute-https', [`Host: ${BOUND}`], `https://${BOUND}/x`)],
  }),
  toBound('downgrade-host-443', [`Host: ${BOUND}:443`], MISMATCH, { port: 80, tls: false }),
  toBound('allowed-port', [`Host: ${BOUND}:8443`], { status: 200, arrives: true }, { port: 8443 }),
  toBound('allowed-port-host-443', [`Host: ${BOUND}`], { status: 200, arrives: true }, { port: 8443 }),
  toBound('unlisted-port', [`Host: ${BOUND}`], { status: null }, { port: 9443 }),
  // Port 8080 has a listener, because a rule for another host needs it.
  toBound('port-of-another-rule', [`Host: ${BOUND}`], { status: null, audited: 'HOST_DENIED' }, { port: 8080, tls: false }),
]; // prettier-ignore

/** Names that some reader takes for the bound one: as Host, and as server name by clients that no library is. */
export const NAME_ATTEMPTS: readonly Attempt[] = [
  toBound('host-longer', [`Host: ${BOUND}.evil.example`], MISMATCH),
  toBound('host-prefixed', [`Host: x${BOUND}`], MISMATCH),
  toBound('host-look-alike-a-label', ['Host: xn--pi-7kc.bound.example'], MISMATCH),
  toBound('host-path', [`Host: ${BOUND}/${OTHER}`], MALFORMED),
  toBound('host-two-dots', [`Host: ${BOUND}..`], MALFORMED),
  toBound('host-space', [`Host: ${BOUND} ${OTHER}`], MALFORMED),
  toBound('host-nul', [`Host: ${BOUND}\0.${OTHER}`], MALFORMED),
  toBound('host-nul-end', [`Host: ${BOUND}\0`], MALFORMED),
  toBound('host-percent', ['Host: api%2ebound.example'], MALFORMED),
  toBound('host-cyrillic', [`Host: ${Buffer.from('аpi.bound.example').toString('latin1')}`], MALFORMED),
  toBound('host-fullwidth', [`Host: ${Buffer.from('ａpi.bound.example').toString('latin1')}`], MALFORMED),
  toBound('host-ideographic-dot', [`Host: ${Buffer.from('api。bound.example').toString('latin1')}`], MALFORMED),
  toBound('host-soft-hyphen', ['Host: api\u00ad.bound.example'], MALFORMED),
  toBound('host-decimal-address', ['Host: 2130706433'], MALFORMED),
  toBound('host-octal-address', ['Host: 0177.0.0.1'], MALFORMED),
  toBound('host-hex-address', ['Host: 0x7f.1'], MALFORMED),
  toBound('host-folded', [`Host: ${BOUND}`, ` ${OTHER}`], MALFORMED),
  toBound('host-space-before-colon', [`Host : ${BOUND}`], MALFORMED),
  toBound('host-bare-lf', [`Host: ${BOUND}\nHost: ${OTHER}`], MALFORMED),
  toBound('host-bare-cr', [`Host: ${BOUND}\rHost: ${OTHER}`], MALFORMED),
  ...(
    [
      ['hello-nul', [Buffer.from(`${BOUND}\0.${OTHER}`)]],
      ['hello-two-names', [Buffer.from(BOUND), Buffer.from(OTHER)]],
      ['hello-latin1', [Buffer.from('\xe0pi.bound.example', 'latin1')]],
      ['hello-empty-name', [Buffer.alloc(0)]],
    ] as const
  ).map(([name, names]): Attempt => ({
    name, host: BOUND, port: 443, tls: false, raw_hello: rawHello(names), expect: { status: null },
  })), // prettier-ignore
]; // prettier-ignore

/** Two readings of where a request ends. */
export const SMUGGLING_ATTEMPTS: readonly Attempt[] = [
  ...(
    [
      ['smuggle-cl-te', [`Content-Length: ${smuggled.length + 5}`, 'Transfer-Encoding: chunked'], `0\r\n\r\n${smuggled}`],
      ['smuggle-te-cl', ['Transfer-Encoding: chunked', 'Content-Length: 4'], `0\r\n\r\n${smuggled}`],
      ['smuggle-two-lengths', ['Content-Length: 0', `Content-Length: ${smuggled.length}`], smuggled],
      ['smuggle-length-list', [`Content-Length: 0, ${smuggled.length}`], smuggled],
      ['smuggle-te-identity', ['Transfer-Encoding: chunked, identity'], `0\r\n\r\n${smuggled}`],
      ['smuggle-te-spelling', ['Transfer-Encoding: xchunked'], `0\r\n\r\n${smuggled}`],
      ['smuggle-te-vtab', ['Transfer-Encoding:\vchunked'], `0\r\n\r\n${smuggled}`],
      ['smuggle-plus-length', [`Content-Length: +${smuggled.length}`], smuggled],
      ['smuggle-chunk-size', ['Transfer-Encoding: chunked'], `0x5\r\nabcde\r\n0\r\n\r\n${smuggled}`],
      ['smuggle-chunk-lf', ['Transfer-Encoding: chunked'], `5\nabcde\n0\n\n${smuggled}`],
    ] as const
  ).map(([name, lines, rest]) =>
    toBound(
      name,
      [],
      {
        status: [400, 501],
        audited: 'MALFORMED_REQUEST',
        // Where the body is at fault, the head may be on its way to the bound host already.
        ...(name.startsWith('smuggle-chunk') ? { arrives: 'perhaps', released: true } : {}),
      },
      { send: [request(name, [`Host: ${BOUND}`, ...lines], `/attempt/${name}`, 'POST') + rest] },
    ),
  ),
]; // prettier-ignore

/** A placeholder of another secret, sent to this one's host. */
export const FOREIGN_PLACEHOLDER: Attempt = toBound(
  'foreign-placeholder',
  [],
  { status: 200, arrives: true },
  {
    send: [
      `GET /attempt/foreign-placeholder HTTP/1.1\r\nHost: ${BOUND}\r\nAuthorization: Bearer {SECOND_TOKEN}\r\n\r\n`,
    ],
  },
);
