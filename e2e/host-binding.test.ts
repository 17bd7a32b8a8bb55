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
import { ATTEMPTS, BOUND, OTHER, SAME_HOST, SECOND, request, toBound } from './hostile/attempts.ts';
import type { Job, JobResult } from './hostile/attempts.ts';

const WIRE = fileURLToPath(new URL('hostile/wire.py', import.meta.url));

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
