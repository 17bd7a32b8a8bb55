import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createScene, eachCaller } from './harness/caller.ts';
import type { Caller } from './harness/caller.ts';
import { findCanary, newCanary } from './harness/canary.ts';
import type { Canary } from './harness/canary.ts';
import { headerValues } from './harness/recording.ts';
import type { RecordedRequest } from './harness/recording.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportResult } from './harness/sallyport.ts';
import { whyNotInside } from './harness/tools.ts';
import { startRawUpstream, startUpstream } from './harness/upstream.ts';
import type { Upstream } from './harness/upstream.ts';

/** The host that the secret is bound to. */
const BOUND = 'api.bound.example';
/** Another host that is allowed, at the very same upstream: what it gets is seen. */
const OTHER = 'api.other.example';
/** A host that a second secret is bound to. */
const SECOND = 'api.second.example';
const WIRE = fileURLToPath(new URL('hostile/wire.py', import.meta.url));

/** One connection of `hostile/wire.py`. */
interface Job {
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

interface JobResult {
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

type Attempt = Job & { readonly expect: Expectation };

const credential = 'Authorization: Bearer {API_TOKEN}';
const request = (name: string, lines: readonly string[], target = `/attempt/${name}`, method = 'GET'): string =>
  `${[`${method} ${target} HTTP/1.1`, ...lines, credential].join('\r\n')}\r\n\r\n`;

/** A request over TLS to the bound host, whose lines are the attempt. */
function toBound(name: string, lines: readonly string[], expect: Expectation, more: Partial<Job> = {}): Attempt {
  return { name, host: BOUND, port: 443, send: [request(name, lines)], ...more, expect };
}

const MISMATCH: Expectation = { status: 421, code: 'AUTHORITY_MISMATCH', audited: 'AUTHORITY_MISMATCH' };
const MALFORMED: Expectation = { status: 400, code: 'MALFORMED_REQUEST', audited: 'MALFORMED_REQUEST' };
const SAME_HOST: Expectation = { status: 200, arrives: true, released: true };

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

/** What is tried on a connection to the bound host, or one that pretends to be. */
const ATTEMPTS: readonly Attempt[] = [
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

  // Host is not the connection's.
  toBound('host-of-another', [`Host: ${OTHER}`], MISMATCH),
  toBound('host-of-second-secret', [`Host: ${SECOND}`], MISMATCH),
  toBound('host-other-port', [`Host: ${BOUND}:80`], MISMATCH),
  toBound('host-longer', [`Host: ${BOUND}.evil.example`], MISMATCH),
  toBound('host-prefixed', [`Host: x${BOUND}`], MISMATCH),
  toBound('host-parent', ['Host: bound.example'], MISMATCH),
  toBound('host-look-alike-a-label', ['Host: xn--pi-7kc.bound.example'], MISMATCH),
  toBound('host-address', ['Host: 127.0.0.1'], MISMATCH),
  toBound('host-two', [`Host: ${BOUND}`, `Host: ${OTHER}`], MALFORMED),
  toBound('host-twice', [`Host: ${BOUND}`, `host: ${BOUND}`], MALFORMED),
  toBound('host-missing', [], MALFORMED),
  toBound('host-empty', ['Host:'], MALFORMED),
  toBound('host-list', [`Host: ${BOUND}, ${OTHER}`], MALFORMED),
  toBound('host-user', [`Host: ${BOUND}@${OTHER}`], MALFORMED),
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
  toBound('host-port-zero-padded', [`Host: ${BOUND}:0443`], MALFORMED),
  toBound('host-port-twice', [`Host: ${BOUND}:443:80`], MALFORMED),
  toBound('host-port-empty', [`Host: ${BOUND}:`], MALFORMED),
  toBound('host-decimal-address', ['Host: 2130706433'], MALFORMED),
  toBound('host-octal-address', ['Host: 0177.0.0.1'], MALFORMED),
  toBound('host-hex-address', ['Host: 0x7f.1'], MALFORMED),
  toBound('host-folded', [`Host: ${BOUND}`, ` ${OTHER}`], MALFORMED),
  toBound('host-space-before-colon', [`Host : ${BOUND}`], MALFORMED),
  toBound('host-bare-lf', [`Host: ${BOUND}\nHost: ${OTHER}`], MALFORMED),
  toBound('host-bare-cr', [`Host: ${BOUND}\rHost: ${OTHER}`], MALFORMED),

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
  // A placeholder of another secret, sent to this one's host.
  toBound('foreign-placeholder', [], { status: 200, arrives: true }, {
    send: [`GET /attempt/foreign-placeholder HTTP/1.1\r\nHost: ${BOUND}\r\nAuthorization: Bearer {SECOND_TOKEN}\r\n\r\n`],
  }),

  // A connection that was good for one request is not good for another host.
  toBound('keep-alive', [], { ...MISMATCH, arrives: true, released: true }, {
    send: [request('keep-alive', [`Host: ${BOUND}`]), request('keep-alive-other', [`Host: ${OTHER}`])],
  }),
  toBound('pipelined', [], { ...MISMATCH, arrives: true, released: true }, {
    send: [request('pipelined', [`Host: ${BOUND}`]) + request('pipelined-other', [`Host: ${OTHER}`])],
  }),
  // Two readings of where a request ends.
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

  // The server name is not the destination's.
  toBound('sni-other', [`Host: ${BOUND}`], MISMATCH, { sni: OTHER }),
  toBound('sni-other-host-other', [`Host: ${OTHER}`], MISMATCH, { sni: OTHER }),
  toBound('sni-missing', [`Host: ${BOUND}`], { status: 421, code: 'SNI_MISSING', audited: 'SNI_MISSING' }, { sni: null }),
  { ...toBound('other-with-bound-sni', [`Host: ${BOUND}`], MISMATCH, { sni: BOUND }), host: OTHER },
  { ...toBound('other-with-bound-host', [`Host: ${BOUND}`], MISMATCH), host: OTHER },
  { ...toBound('other-honest', [`Host: ${OTHER}`], { status: 200, arrives: true }), host: OTHER },
  { ...toBound('second-honest', [`Host: ${SECOND}`], { status: 200, arrives: true }), host: SECOND },
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

/** Every request that the upstream saw with the value in it. */
function released(upstream: Upstream, canary: Canary): RecordedRequest[] {
  return upstream.requests.filter(
    (one) =>
      findCanary(canary, `${one.target}\n${one.rawHeaders.join('\n')}\n${one.body.toString('latin1')}`).length > 0,
  );
}

/** Statuses of the responses in what a connection received. */
function statuses(received: string): number[] {
  return [...received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => Number(status));
}

/** Runs jobs in one sandbox; `lines` is what more the sandbox runs afterwards, in a shell. */
async function runJobs(
  caller: Caller,
  jobs: readonly Job[],
  options: {
    readonly upstream: Upstream;
    readonly flags: readonly string[];
    readonly env: Readonly<Record<string, string>>;
    readonly canaries: readonly Canary[];
    readonly shell?: string;
  },
): Promise<{ result: SallyportResult; answers: Map<string, JobResult>; output: string }> {
  using scene = createScene(caller);
  writeFileSync(join(scene.assets, 'jobs.json'), JSON.stringify(jobs));
  // A copy: the checkout itself cannot be mounted.
  copyFileSync(WIRE, join(scene.assets, 'wire.py'));
  const script = `/usr/bin/python3 /assets/wire.py /assets/jobs.json || exit 70\necho; echo @@\n${options.shell ?? 'true'}`;
  const result = await sallyport(
    [
      'run',
      ...options.upstream.flags(),
      ...['-v', `${scene.assets}:/assets:ro`],
      ...options.flags,
      ...['--', 'sh', '-c', script],
    ],
    { scene, env: options.env, timeoutMs: 100_000, canary: options.canaries[0]! },
  );
  for (const canary of options.canaries) assertRunKeptSecret(canary, result, scene);
  const [json = '', output = ''] = result.stdout.split('\n@@\n');
  assert.equal(result.status, 0, describeRun(result));
  const answers = new Map((JSON.parse(json) as JobResult[]).map((answer) => [answer.name, answer]));
  return { result, answers, output };
}

/** Whether some audit event says this of a host. */
function isAudited(result: SallyportResult, host: string | undefined, code: string): boolean {
  return result.audit.some((event) => event['code'] === code && (host === undefined || event['host'] === host));
}

const python = whyNotInside('python3');

eachCaller(
  'the gate gives a value to the bound host alone, whatever a request says',
  async (caller) => {
    const canary = newCanary();
    const second = newCanary();
    await using upstream = await startUpstream({ names: [BOUND, OTHER, SECOND] });
    const pins = [8443, 8080].flatMap((port) => ['--resolve', `${BOUND}:${port}:127.0.0.1:${upstream.httpsPort}`]);
    const quoted = `-sS -m 8 -H "X-Api-Key: $API_TOKEN"`;
    const { result, answers, output } = await runJobs(caller, ATTEMPTS, {
      upstream,
      flags: [
        ...pins,
        ...['--secret', `API_TOKEN@${BOUND}`, '--secret', `SECOND_TOKEN@${SECOND}`],
        ...['--allow', OTHER, '--allow', BOUND, '--allow', `${BOUND}:8443`, '--allow', 'unrelated.example:8080'],
      ],
      env: { API_TOKEN: canary.value, SECOND_TOKEN: second.value },
      canaries: [canary, second],
      // The same by clients that people use.
      shell: [
        `curl ${quoted} https://${BOUND}/attempt/curl-control`,
        `curl ${quoted} -L "https://${BOUND}/redirect?to=https://${OTHER}/attempt/curl-redirected"`,
        `curl ${quoted} -L "https://${BOUND}/redirect?to=http://${BOUND}/attempt/curl-downgraded"`,
        // -k: plain TCP reaches the upstream's own certificate, whose authority is unknown inside.
        `curl ${quoted} -k -L "https://${BOUND}/redirect?to=https://${BOUND}:8443/attempt/curl-other-port"`,
        `curl ${quoted} --connect-to ${BOUND}:443:${OTHER}:443 https://${BOUND}/attempt/curl-connect-to`,
        `curl ${quoted} --connect-to ${OTHER}:443:${BOUND}:443 https://${OTHER}/attempt/curl-connect-to-bound`,
        `address=$(getent ahostsv4 ${OTHER} | awk 'NR==1{print $1}')`,
        `curl ${quoted} --resolve ${BOUND}:443:$address https://${BOUND}/attempt/curl-resolve`,
        `curl ${quoted} -H "Host: ${OTHER}" https://${BOUND}/attempt/curl-host`,
        `curl ${quoted} -x http://${BOUND}:80 http://${OTHER}/attempt/curl-proxy`,
        `curl ${quoted} -x https://${BOUND}:443 --proxytunnel https://${OTHER}/attempt/curl-tunnel`,
        `curl ${quoted} --http2-prior-knowledge https://${BOUND}/attempt/curl-h2`,
        `printf 'GET /attempt/openssl HTTP/1.1\\r\\nHost: ${BOUND}\\r\\nX-Api-Key: %s\\r\\n\\r\\n' "$API_TOKEN" | timeout 5 openssl s_client -quiet -connect ${BOUND}:443 -servername ${OTHER} 2>/dev/null`,
        'true',
      ]
        .map((line) => `${line} 2>&1`)
        .join('\n'),
    });

    for (const { name, host, expect } of ATTEMPTS) {
      const answer = answers.get(name) ?? assert.fail(`no report of ${name}`);
      const last = statuses(answer.received).at(-1) ?? null;
      const wanted = [expect.status].flat();
      const about = `${name}: ${answer.end} ${answer.received.slice(0, 300)}`;
      assert.ok(wanted.includes(last), about);
      if (expect.code !== undefined) assert.ok(answer.received.includes(expect.code), about);
      if (expect.audited !== undefined) assert.ok(isAudited(result, host, expect.audited), `not in the log: ${about}`);
      const seen = upstream.requests.filter((one) => one.target === `/attempt/${name}`);
      const { arrives = false } = expect;
      if (arrives === 'perhaps') assert.ok(seen.length <= 1, name);
      else assert.equal(seen.length, arrives ? 1 : 0, `${name} arrived ${seen.length} times`);
      for (const one of seen) {
        const got = headerValues(one, 'authorization')[0] ?? '';
        assert.equal(got === `Bearer ${canary.value}`, expect.released === true, `${name}: ${got.slice(0, 12)}`);
        if (expect.released !== true) assert.match(got, /^Bearer sp_/, name);
      }
    }
    // Each refused attempt has an event of its own.
    for (const code of ['AUTHORITY_MISMATCH', 'MALFORMED_REQUEST', 'SNI_MISSING', 'METHOD_REFUSED']) {
      const attempts = ATTEMPTS.filter(({ expect }) => expect.audited === code).length;
      const events = result.audit.filter((event) => event['code'] === code).length;
      assert.ok(attempts > 0 && events >= attempts, `${code}: ${events} events of ${attempts} attempts`);
    }

    // Whoever got the value proved by TLS to be the bound host, and was asked for it by its canonical name.
    const got = released(upstream, canary);
    for (const one of got) {
      assert.equal(one.scheme, 'https');
      assert.equal(one.serverName, BOUND);
      assert.deepEqual(headerValues(one, 'host'), [BOUND]);
    }
    const targets = upstream.requests.map(({ target }) => target);
    assert.ok(
      got.some(({ target }) => target === '/attempt/curl-control'),
      output,
    );
    assert.ok(targets.includes('/attempt/curl-redirected') && targets.includes('/attempt/curl-downgraded'), output);
    assert.ok(targets.includes('/attempt/curl-other-port'), output);
    for (const name of ['curl-redirected', 'curl-downgraded', 'curl-other-port']) {
      assert.deepEqual(
        got.filter(({ target }) => target === `/attempt/${name}`),
        [],
        `${name} got the value`,
      );
    }
    for (const name of [
      'curl-connect-to',
      'curl-connect-to-bound',
      'curl-resolve',
      'curl-host',
      'curl-proxy',
      'curl-tunnel',
      'openssl',
    ]) {
      assert.ok(!targets.includes(`/attempt/${name}`), `${name} arrived`);
    }
    assert.ok(!targets.some((target) => target.includes('smuggled') || target.endsWith('-other')), targets.join(' '));
    assert.deepEqual(released(upstream, second), [], 'the second secret was asked for with a foreign placeholder only');
    // A placeholder that met another host is on record.
    assert.ok(
      result.audit.some((event) => event['host'] === OTHER && JSON.stringify(event['stray']).includes('API_TOKEN')),
    );
    assert.ok(
      result.audit.some((event) => event['host'] === BOUND && JSON.stringify(event['stray']).includes('SECOND_TOKEN')),
    );
    assert.ok(
      result.audit.every(
        (event) => event['host'] === BOUND || !JSON.stringify(event['secrets'] ?? []).includes('API_TOKEN'),
      ),
    );
  },
  { skip: python, timeoutMs: 110_000 },
);

eachCaller(
  'a wildcard binding ends at its labels',
  async (caller) => {
    const canary = newCanary();
    const names = {
      'x.one.example': true,
      'one.example': false,
      'a.b.one.example': false,
      'xone.example': false,
      'x.one.example.evil.example': false,
      'x.deep.example': true,
      'a.b.c.deep.example': true,
      'deep.example': false,
      'notdeep.example': false,
      'exact.example': true,
      'sub.exact.example': false,
    } as const;
    const hosts = Object.keys(names);
    await using upstream = await startUpstream({ names: hosts });
    const jobs = hosts.map((host) => ({
      name: host, host, port: 443, send: [request(host, [`Host: ${host}`])],
    })); // prettier-ignore
    const { answers } = await runJobs(caller, jobs, {
      upstream,
      flags: [
        '--secret',
        'API_TOKEN@*.one.example,**.deep.example,exact.example',
        ...hosts.flatMap((host) => ['--allow', host]),
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    const got = released(upstream, canary);
    for (const [host, isBound] of Object.entries(names)) {
      assert.deepEqual(statuses(answers.get(host)!.received), [200], host);
      assert.equal(
        got.some(({ target }) => target === `/attempt/${host}`),
        isBound,
        host,
      );
    }
  },
  { skip: python },
);

/** A name, other than localhost, that this machine itself resolves to an address of a special class. */
const inwardName = ((): string | undefined => {
  for (const line of readFileSync('/etc/hosts', 'utf8').split('\n')) {
    const [address = '', ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const isInward = /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cde])/.test(address);
    const name = names.find((one) => one !== 'localhost' && !one.endsWith('.localhost') && /^[a-z0-9.-]+$/.test(one));
    if (isInward && name !== undefined) return name;
  }
  return undefined;
})();

eachCaller(
  'no name and no spelling of an address leads to an inward address',
  async (caller) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const inward = inwardName === undefined ? [] : [inwardName];
    const addresses = [
      '127.0.0.2', '169.254.169.254', '10.0.2.1', '192.168.0.1', '100.100.100.200', '0.0.0.1', '198.19.255.1',
      '64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '2002:7f00:1::1', '::ffff:169.254.169.254', 'fd00:ec2::254', 'fe80::1%eth0', '::7f00:1', '2001::7f00:1',
    ]; // prettier-ignore
    const jobs: Job[] = [
      toBound('control', [`Host: ${BOUND}`], SAME_HOST),
      ...inward.flatMap((host) => [
        { name: 'inward-tls', host, port: 443, send: [request('inward', [`Host: ${host}`])] },
        { name: 'inward-http', host, port: 80, tls: false, send: [request('inward', [`Host: ${host}`])] },
      ]),
      ...addresses.flatMap((address) => [
        { name: `${address} 443`, address, port: 443, timeout: 4, sni: null, send: [request('address', ['Host: x'])] },
        { name: `${address} 80`, address, port: 80, timeout: 4, tls: false, send: [request('address', [`Host: ${address.includes(':') ? `[${address.split('%')[0]}]` : address}`])] },
      ]),
      // Spellings that C libraries take for 127.0.0.1: they end at the sandbox's own loopback.
      ...['2130706433', '0x7f.1', '0177.0.0.1', '127.1', '::1', '::ffff:127.0.0.1', '0.0.0.0'].map((address) => ({
        name: `own ${address}`, host: address, port: 80, tls: false, send: [request('own', ['Host: x'])],
      })),
    ]; // prettier-ignore
    const { result, answers } = await runJobs(caller, jobs, {
      upstream,
      flags: [
        '--secret',
        `API_TOKEN@${[BOUND, ...inward].join(',')}`,
        '--allow',
        '**',
        '--allow',
        '0.0.0.0/0',
        '--allow',
        '::/0',
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    assert.equal(released(upstream, canary).length, 1, 'the positive control');
    for (const { name } of jobs.slice(1)) {
      const { received, end } = answers.get(name)!;
      const status = statuses(received).at(-1) ?? null;
      assert.ok([null, 400, 403, 421].includes(status), `${name}: ${end} ${received.slice(0, 300)}`);
      if (name.startsWith('own ')) assert.match(end, /^connect:/, name);
    }
    for (const host of ['169.254.169.254', '10.0.2.1', '64:ff9b::7f00:1', 'fd00:ec2::254', ...inward]) {
      assert.ok(
        isAudited(result, host, 'ADDRESS_DENIED'),
        `${host}: ${JSON.stringify(result.audit.filter((event) => event['host'] === host))}`,
      );
    }
  },
  { skip: python },
);

eachCaller(
  'an upstream that does not prove to be the bound host gets nothing',
  async (caller) => {
    const canary = newCanary();
    const kinds = ['valid', 'expired', 'not-yet-valid', 'self-signed', 'wrong-name', 'foreign-authority'] as const;
    const hosts = kinds.map((kind) => `${kind}.bound.example`);
    await using upstream = await startUpstream({ names: [hosts[0]!] });
    const received = new Map<string, string>();
    const impostors = await Promise.all(
      hosts.slice(1).map(async (host, index) =>
        startRawUpstream(
          (socket) => void socket.on('data', (chunk: Buffer) => received.set(host, chunk.toString('latin1'))),
          {
            names: [host],
            certificate: kinds[index + 1]!,
            authority: upstream.authority,
          },
        ),
      ),
    );
    await using clear = await startRawUpstream(
      (socket) =>
        void socket.on('data', (chunk: Buffer) => {
          received.set('clear', chunk.toString('latin1'));
          socket.end('HTTP/1.1 200 OK\r\n\r\n');
        }),
      {
        names: ['clear.bound.example'],
        secure: false,
      },
    );
    try {
      const names = [...hosts, 'clear.bound.example'];
      const jobs = names.map((host) => ({ name: host, host, port: 443, send: [request(host, [`Host: ${host}`])] }));
      const { result, answers } = await runJobs(caller, jobs, {
        upstream,
        flags: [...[...impostors, clear].flatMap((one) => one.flags()), '--secret', `API_TOKEN@${names.join(',')}`],
        env: { API_TOKEN: canary.value },
        canaries: [canary],
      });
      assert.equal(released(upstream, canary).length, 1, 'the positive control');
      for (const host of names.slice(1)) {
        assert.deepEqual(statuses(answers.get(host)!.received), [502], `${host}: ${answers.get(host)!.received}`);
        assert.ok(isAudited(result, host, 'UPSTREAM_TLS_FAILED'), host);
      }
      for (const [host, text] of received) {
        assert.deepEqual(findCanary(canary, text), [], host);
        assert.ok(!text.includes('HTTP/1.1'), `${host} got a request`);
      }
    } finally {
      for (const impostor of impostors) await impostor.close();
    }
  },
  { skip: python },
);
