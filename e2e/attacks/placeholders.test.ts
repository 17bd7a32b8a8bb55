import assert from 'node:assert/strict';
import { createScene } from '../harness/caller.ts';
import { newCanary } from '../harness/canary.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { bearer, dechunk } from './answers.ts';
import { createFamily } from './attack.ts';
import { BOUND, FOREIGN_PLACEHOLDER } from './attempts.ts';
import type { Job, JobResult } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { addAttempts, findReleased, runJobs } from './jobs.ts';
import { startMirror } from './mirror.ts';
import { equip } from './scene.ts';

const family = createFamily(
  'placeholders',
  'What a program can do with a placeholder: use another secret’s, put it where it must not stand, nest and repeat it, park the value and read it back.',
);

const python = whyNotInside('python3');

addGauntletAttacks(family, ['placement', 'ranges', 'parked-elsewhere'], 'each');
addAttempts(family, 'a placeholder is good for its own hosts', [FOREIGN_PLACEHOLDER], {
  leaks: 'the value of another secret, to a host that it is not bound to',
  callers: 'one',
  more: async ({ result }) => {
    assert.ok(
      result.audit.some((one) => one['host'] === BOUND && JSON.stringify(one['stray']).includes('SECOND_TOKEN')),
    );
  },
});

for (const [kind, port] of [
  ['by TLS', 443],
  ['in clear', 80],
] as const) {
  family.attack(
    {
      name: `a value that is parked at its host is read back in ranges, ${kind}`,
      leaks: 'the value, to the program in the sandbox',
    },
    async (caller) => {
      const canary = newCanary();
      using scene = createScene(caller);
      await using upstream = await startMirror();
      const pieces = Array.from({ length: 12 }, (_, index) => ({
        name: String(index), host: BOUND, port, tls: port === 443,
        send: [`GET /mirror/parked HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: close\r\nRange: bytes=${index * 5}-${index * 5 + 4}\r\n\r\n`],
      })); // prettier-ignore
      const park = { name: 'park', host: BOUND, port: 443, send: [`GET /mirror/park HTTP/1.1\r\n${bearer()}`] };
      const script =
        'python3 /assets/wire.py /assets/park.json >/tmp/park.json && python3 /assets/wire.py /assets/jobs.json';
      const result = await sallyport(
        [
          'run',
          ...upstream.flags(),
          ...equip(scene, { 'park.json': [park], 'jobs.json': pieces }),
          ...['--secret', `API_TOKEN@${BOUND}`, '--allow', BOUND],
          ...['--', 'sh', '-c', script],
        ],
        { scene, env: { API_TOKEN: canary.value }, canary },
      );
      assert.equal(result.status, 0, describeRun(result));
      assert.ok(
        upstream.requests.some((one) => receivedCredential(one) === canary.value),
        'the value was not parked',
      );
      const got = JSON.parse(result.stdout) as JobResult[];
      const bodies = got.map(({ received }) => dechunk(received).split('\r\n\r\n')[1] ?? '');
      assert.ok(
        bodies.every((body) => body.includes('before sp_API_TOKEN')),
        bodies.join('|').slice(0, 200),
      );
      assert.ok(!bodies.join('').includes(canary.value), 'put together, the pieces are the value');
      assertRunKeptSecret(canary, result, scene);
    },
    { skip: python, callers: 'one' },
  );
}

/** A request whose placeholder stands anywhere but in the one header that its secret names. */
function circumvention(
  name: string,
  lines: readonly string[],
  more: { target?: string; method?: string; body?: string } = {},
): Job {
  const { target = `/around/${name.replaceAll(/[^a-z]+/gi, '-')}`, method = 'GET', body = '' } = more;
  const head = [`${method} ${target} HTTP/1.1`, `Host: ${BOUND}`, 'Connection: close', ...lines].join('\r\n');
  return { name, host: BOUND, port: 443, send: [`${head}\r\n\r\n${body}`] };
}

const CIRCUMVENTIONS: readonly Job[] = [
  circumvention('another header', ['Authorization: Bearer {API_TOKEN}']),
  circumvention('a header whose name goes on', ['X-Api-Key-Old: {API_TOKEN}']),
  circumvention('underscores for hyphens', ['X_Api_Key: {API_TOKEN}']),
  circumvention('a space before the colon', ['X-Api-Key : {API_TOKEN}']),
  circumvention('a folded line', ['X-Other: a', ' X-Api-Key: {API_TOKEN}']),
  circumvention('a bare line feed', ['X-Other: a\nX-Api-Key: {API_TOKEN}']),
  circumvention('the header’s name within a value', ['X-Other: X-Api-Key: {API_TOKEN}']),
  circumvention('a cookie of that name', ['Cookie: X-Api-Key={API_TOKEN}']),
  circumvention('the query', [], { target: '/around/query?X-Api-Key={API_TOKEN}' }),
  circumvention('the path', [], { target: '/path/{API_TOKEN}' }),
  circumvention('the body', [`Content-Length: ${'X-Api-Key: sp_API_TOKEN_'.length + 22}`], { method: 'POST', body: 'X-Api-Key: {API_TOKEN}' }),
  circumvention('a trailer', ['Transfer-Encoding: chunked', 'Trailer: X-Api-Key'], { method: 'POST', body: '1\r\nA\r\n0\r\nX-Api-Key: {API_TOKEN}\r\n\r\n' }),
  circumvention('a chunk extension', ['Transfer-Encoding: chunked'], { method: 'POST', body: '1;X-Api-Key="{API_TOKEN}"\r\nA\r\n0\r\n\r\n' }),
  circumvention('TRACE', ['X-Api-Key: {API_TOKEN}'], { method: 'TRACE' }),
  circumvention('a header that Connection takes away', ['Connection: X-Api-Key', 'X-Other: {API_TOKEN}']),
]; // prettier-ignore

family.attacks(
  'a secret for one header is put into no other place',
  async (caller, judge) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const control = circumvention('control', ['x-API-key: {API_TOKEN}']);
    await runJobs(caller, [control, ...CIRCUMVENTIONS], {
      flags: [...upstream.flags(), '--secret', `API_TOKEN@${BOUND}`, '--secret-in', 'header:X-Api-Key'],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    const released = findReleased(upstream, canary).map(({ target }) => target);
    assert.ok(released.includes('/around/control'), 'the positive control');
    const seen = upstream.connections.map((connection) => connection.received().toString('latin1')).join('');
    for (const { name, send: [text = ''] = [] } of CIRCUMVENTIONS) {
      await judge(
        { name: `header:NAME, around it by ${name}`, leaks: 'the value, where servers log, store and show it' },
        () => {
          const prefix = text.split(' ')[1]?.split('{')[0] ?? '';
          assert.ok(!released.some((target) => target.startsWith(prefix)), 'the value arrived');
          // In trailers and chunk extensions too: once in all that arrived, by the control.
          assert.equal(seen.split(canary.value).length, 2);
        },
      );
    }
    assert.deepEqual(released, ['/around/control']);
  },
  { skip: python, callers: 'one' },
);
