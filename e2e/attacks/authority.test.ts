import assert from 'node:assert/strict';
import { newCanary } from '../harness/canary.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startRawUpstream, startUpstream } from '../harness/upstream.ts';
import { findCanary } from '../harness/canary.ts';
import { createFamily } from './attack.ts';
import { AUTHORITY_ATTEMPTS, BOUND, OTHER, request } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { addAttempts, findReleased, isAudited, readStatuses, runJobs } from './jobs.ts';

const family = createFamily(
  'authority',
  'Whose request it is: CONNECT, server name, Host, `:authority`, target, port, scheme and certificate must name one origin.',
);

const LEAKS = 'the value, in a request that names another origin than the bound one';
const python = whyNotInside('python3');

const H2 = ['authority-other', 'authority-bound', 'host-other', 'two-authorities', 'scheme'];
addGauntletAttacks(family, ['authority', ...H2.flatMap((id) => [`h2-${id}`, `downgrade-${id}`])], 'each');

const quoted = `-sS -m 8 -H "X-Api-Key: $API_TOKEN"`;

/** The same by clients that people use: none of these may arrive. */
const CLIENT_ATTEMPTS: Readonly<Record<string, string>> = {
  'curl-connect-to': `curl ${quoted} --connect-to ${BOUND}:443:${OTHER}:443 https://${BOUND}/attempt/curl-connect-to`,
  'curl-connect-to-bound': `curl ${quoted} --connect-to ${OTHER}:443:${BOUND}:443 https://${OTHER}/attempt/curl-connect-to-bound`,
  'curl-resolve': `curl ${quoted} --resolve ${BOUND}:443:$(getent ahostsv4 ${OTHER} | awk 'NR==1{print $1}') https://${BOUND}/attempt/curl-resolve`,
  'curl-host': `curl ${quoted} -H "Host: ${OTHER}" https://${BOUND}/attempt/curl-host`,
  'curl-proxy': `curl ${quoted} -x http://${BOUND}:80 http://${OTHER}/attempt/curl-proxy`,
  'curl-tunnel': `curl ${quoted} -x https://${BOUND}:443 --proxytunnel https://${OTHER}/attempt/curl-tunnel`,
  openssl: `printf 'GET /attempt/openssl HTTP/1.1\\r\\nHost: ${BOUND}\\r\\nX-Api-Key: %s\\r\\n\\r\\n' "$API_TOKEN" | timeout 5 openssl s_client -quiet -connect ${BOUND}:443 -servername ${OTHER} 2>/dev/null`,
};

addAttempts(family, 'the gate gives a value to the bound host alone, whatever a request says', AUTHORITY_ATTEMPTS, {
  leaks: LEAKS,
  callers: 'each',
  shell: [
    `curl ${quoted} https://${BOUND}/attempt/curl-control`,
    `curl ${quoted} --http2-prior-knowledge https://${BOUND}/attempt/curl-h2`,
    ...Object.values(CLIENT_ATTEMPTS),
    'true',
  ],
  more: async ({ upstream, canary, output, result }, judge) => {
    const got = findReleased(upstream, canary).map(({ target }) => target);
    assert.ok(got.includes('/attempt/curl-control'), output);
    const targets = upstream.requests.map(({ target }) => target);
    for (const name of Object.keys(CLIENT_ATTEMPTS)) {
      await judge({ name, leaks: LEAKS }, () => assert.ok(!targets.includes(`/attempt/${name}`), `${name} arrived`));
    }
    // A placeholder that met another host is on record.
    assert.ok(result.audit.some((one) => one['host'] === OTHER && JSON.stringify(one['stray']).includes('API_TOKEN')));
  },
});

family.attack(
  {
    name: 'a wildcard binding ends at its labels',
    leaks: 'the value, to a host whose name only resembles the binding',
  },
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
    const jobs = hosts.map((host) => ({ name: host, host, port: 443, send: [request(host, [`Host: ${host}`])] }));
    const { answers } = await runJobs(caller, jobs, {
      flags: [
        ...upstream.flags(),
        ...['--secret', 'API_TOKEN@*.one.example,**.deep.example,exact.example'],
        ...hosts.flatMap((host) => ['--allow', host]),
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    const got = findReleased(upstream, canary).map(({ target }) => target);
    for (const [host, isBound] of Object.entries(names)) {
      assert.deepEqual(readStatuses(answers.get(host)!.received), [200], host);
      assert.equal(got.includes(`/attempt/${host}`), isBound, host);
    }
  },
  { skip: python, callers: 'one' },
);

const KINDS = ['valid', 'expired', 'not-yet-valid', 'self-signed', 'wrong-name', 'foreign-authority'] as const;
const IN_CLEAR = 'clear.bound.example';

family.attacks(
  'an upstream that does not prove to be the bound host gets nothing',
  async (caller, judge) => {
    const canary = newCanary();
    const hosts = KINDS.map((kind) => `${kind}.bound.example`);
    await using upstream = await startUpstream({ names: [hosts[0]!] });
    await using stack = new AsyncDisposableStack();
    const received = new Map<string, string>();
    const flags: string[] = [];
    for (const [index, host] of [...hosts, IN_CLEAR].entries()) {
      if (index === 0) continue;
      const kind = KINDS[index];
      const impostor = await startRawUpstream(
        (socket) =>
          void socket.on('data', (chunk: Buffer) => {
            received.set(host, chunk.toString('latin1'));
            if (kind === undefined) socket.end('HTTP/1.1 200 OK\r\n\r\n');
          }),
        {
          names: [host],
          ...(kind === undefined ? { secure: false } : { certificate: kind, authority: upstream.authority }),
        },
      );
      stack.use(impostor);
      flags.push(...impostor.flags());
    }
    const names = [...hosts, IN_CLEAR];
    const jobs = names.map((host) => ({ name: host, host, port: 443, send: [request(host, [`Host: ${host}`])] }));
    const { result, answers } = await runJobs(caller, jobs, {
      flags: [...upstream.flags(), ...flags, '--secret', `API_TOKEN@${names.join(',')}`],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    assert.equal(findReleased(upstream, canary).length, 1, 'the positive control');
    for (const host of names.slice(1)) {
      const what = host === IN_CLEAR ? 'cleartext where TLS should be' : `a certificate that is ${host.split('.')[0]}`;
      await judge({ name: `an upstream with ${what}`, leaks: 'the value, to whoever took the host’s place' }, () => {
        assert.deepEqual(readStatuses(answers.get(host)!.received), [502], answers.get(host)!.received);
        assert.ok(isAudited(result, host, 'UPSTREAM_TLS_FAILED'), host);
        const text = received.get(host) ?? '';
        assert.deepEqual(findCanary(canary, text), []);
        assert.ok(!text.includes('HTTP/1.1'), 'it got a request');
      });
    }
  },
  { skip: python },
);
