import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createScene } from '../harness/caller.ts';
import { assertNoCanary, findCanary, newCanary } from '../harness/canary.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { MIRRORS, bearer, dechunk, reflections } from './answers.ts';
import { createFamily } from './attack.ts';
import { BOUND, SECOND } from './attempts.ts';
import type { JobResult } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { startMirror } from './mirror.ts';
import { equip } from './scene.ts';

const family = createFamily(
  'reflection',
  'The bound host gives the value back, wherever and however written: the program in the sandbox may not read it. And where else it could look.',
);

const LEAKS = 'the value, to the program in the sandbox';
/** How much of a value the hostile program is told, so that it can look for the rest. */
const NEEDLE_CHARACTERS = 18;
const python = whyNotInside('python3');

addGauntletAttacks(family, ['reflection', 'h2-reflect', 'trace', 'method-override'], 'one');

/** What hunt.py reports. */
interface HuntReport {
  readonly finds: readonly (readonly [string, string, string, string])[];
  readonly looked: Readonly<Record<string, number>>;
  readonly core: { readonly raised: boolean; readonly dumped: boolean; readonly files: readonly string[] };
  readonly environment: Readonly<Record<string, string>>;
  readonly pids: readonly number[];
  readonly keys: readonly string[];
  readonly terminal: boolean;
}

/** Where hunt.py looks, by its words, and how many of them it must have looked at to mean anything. */
const PLACES: readonly { readonly kind: string; readonly place: string; readonly least: number }[] = [
  { kind: 'environ', place: 'the environment of every process', least: 4 },
  { kind: 'cmdline', place: 'the command line of every process', least: 4 },
  { kind: 'memory', place: 'the memory of every process', least: 30 },
  { kind: 'fd', place: 'open descriptors', least: 3 },
  { kind: 'file', place: 'every file', least: 1000 },
  { kind: 'name', place: 'the names of files', least: 1000 },
  { kind: 'link', place: 'symbolic links', least: 100 },
  { kind: 'proc', place: '/proc', least: 60 },
  { kind: 'given', place: 'what clients print of their requests, answers and errors', least: 2 },
];

/** Mirrors whose answers arrive, with the placeholder in them; the others are refused or have none. */
const SHOWN = [
  '/mirror/head', '/mirror/early-hints', '/mirror/chunk-extensions', '/mirror/two-members', '/mirror/nested', '/mirror/coding?as=GZIP',
  '/sse?count=3&reflect', 'HTTP/1.0',
]; // prettier-ignore

family.attacks(
  'a hostile program finds no value: not in files, processes, memory, errors or answers',
  async (caller, judge) => {
    const canary = newCanary();
    const second = newCanary();
    const marker = newCanary();
    using scene = createScene(caller);
    await using upstream = await startMirror();
    const forms = reflections();
    const jobs = [
      ...[...forms, ...MIRRORS.map((path) => ({ name: path, path }))].map(({ name, path }) => ({
        name, host: BOUND, port: 443, timeout: 90,
      send: [`GET ${path} HTTP/1.1\r\n${bearer()}`],
      })),
      { name: 'HEAD', host: BOUND, port: 443, send: [`HEAD /mirror/head HTTP/1.1\r\n${bearer()}`] },
      { name: 'HTTP/1.0', host: BOUND, port: 443, send: [`GET /reflect?split=1 HTTP/1.0\r\n${bearer()}`] },
      { name: 'upgrade', host: BOUND, port: 443, send: [`GET /ws HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer {API_TOKEN}\r\n\r\n`] },
      { name: 'marker', host: BOUND, port: 443, send: [`GET /echo HTTP/1.1\r\n${bearer('X-Marker: {PLANTED}\r\n')}`] },
      { name: 'second', host: SECOND, port: 443, send: [`GET /reflect HTTP/1.1\r\nHost: ${SECOND}\r\nConnection: close\r\nAuthorization: Bearer {SECOND_TOKEN}\r\n\r\n`] },
    ]; // prettier-ignore
    const needles = Object.fromEntries(
      Object.entries({ canary, second, marker }).map(([name, { value }]) => [name, value.slice(0, NEEDLE_CHARACTERS)]),
    );
    writeFileSync(join(scene.workspace, 'planted.txt'), `a line\n${marker.value}\n`, { mode: 0o644 });
    const script = [
      'python3 /assets/wire.py /assets/jobs.json >/tmp/answers.json 2>/tmp/errors.txt || exit 70',
      // Errors of clients: they repeat what they sent and got.
      `{ curl -v -sS -H "Authorization: Bearer $API_TOKEN" https://${BOUND}/mirror/head; curl -v "https://user:$API_TOKEN@${BOUND}/reflect?as=basic"; git ls-remote "https://x:$API_TOKEN@${BOUND}/mirror/head"; } >/tmp/clients.txt 2>&1`,
      'cat /tmp/answers.json; echo; echo @@; python3 /assets/hunt.py /assets/needles.json 6 /tmp/answers.json /tmp/clients.txt; echo; echo @@; cat /tmp/clients.txt /tmp/errors.txt',
    ].join('\n');
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'jobs.json': jobs, 'needles.json': needles }),
        ...['-e', `PLANTED=${marker.value}`, '--secret', `API_TOKEN@${BOUND}`],
        // On the command line of the host, where the host's own process list shows it; inside it is not seen.
        ...['--secret', `SECOND_TOKEN=${second.value}@${SECOND}`],
        ...['--', 'sh', '-c', script],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 240_000 },
    );
    assert.equal(result.status, 0, describeRun(result));
    const [json = '', found = ''] = result.stdout.split('\n@@\n');
    const answers = new Map((JSON.parse(json) as JobResult[]).map((answer) => [answer.name, answer.received]));
    const report = JSON.parse(found) as HuntReport;

    // The upstream had the values, and gave them back; what came in is the placeholder, in the form that the value had.
    const carried = upstream.requests.filter((request) => receivedCredential(request) === canary.value);
    assert.ok(carried.length >= jobs.length - 2, `${carried.length} of ${jobs.length} requests carried the value`);
    assert.ok(upstream.requests.some((request) => receivedCredential(request) === second.value));
    const placeholder = { value: report.environment['API_TOKEN'] ?? '' };
    assert.match(placeholder.value, /^sp_API_TOKEN_/);

    /** No value in an answer, its chunks put together: one byte a chunk would hide anything. */
    const assertClean = (name: string): void => {
      const whole = dechunk(answers.get(name) ?? assert.fail(`no report of ${name}`));
      for (const value of [canary, second]) assert.deepEqual(findCanary(value, whole), [], name);
    };
    const assertShown = (name: string): void =>
      assert.notDeepEqual(
        findCanary(placeholder, dechunk(answers.get(name) ?? '')),
        [],
        `${name}: ${answers.get(name)}`,
      );
    for (const [form, group] of Map.groupBy(forms, ({ name }) => name.split(' ')[0] ?? '')) {
      await judge(
        { name: `${form}, in a header, a trailer, and in bodies of every coding and cut`, leaks: LEAKS },
        () => {
          for (const { name } of group) {
            assertClean(name);
            assertShown(name);
          }
        },
      );
    }
    for (const name of [...MIRRORS, 'HEAD', 'HTTP/1.0', 'upgrade']) {
      await judge({ name: `an answer of ${name}`, leaks: LEAKS }, () => {
        assertClean(name);
        if (SHOWN.includes(name)) assertShown(name);
      });
    }
    await judge({ name: 'a second secret, echoed by its host', leaks: LEAKS }, () => {
      assertClean('second');
      assertClean('marker');
    });
    // A body that is not what its codings say is cut, and looks cut.
    const lie = answers.get(`/mirror/coding?as=${encodeURIComponent('gzip, gzip')}`) ?? '';
    assert.match(lie, /\r\n\r\n$/);
    assert.doesNotMatch(lie, /\r\n0\r\n\r\n$/);
    for (const as of ['foo', 'compress'])
      assert.match(answers.get(`/mirror/coding?as=${as}`) ?? '', /^HTTP\/1\.1 502 /, as);
    // The handshake breaks RFC 6455: no version, a key of one byte.
    assert.match(answers.get('upgrade') ?? '', /^HTTP\/1\.1 400 /);

    // The search works: it finds what was planted, in each place and in what the network gave.
    const kinds = new Set(report.finds.filter(([name]) => name === 'marker').map(([, , kind]) => kind));
    for (const kind of ['environ', 'cmdline', 'memory', 'file', 'given', 'proc'])
      assert.ok(kinds.has(kind), `the search has not found the marker by ${kind}`);
    const finds = report.finds.filter(([name]) => name !== 'marker');
    for (const { kind, place, least } of PLACES) {
      await judge({ name: `a search of ${place}`, leaks: 'the value, without any request' }, () => {
        assert.ok((report.looked[kind] ?? 0) >= least, `only ${report.looked[kind]} looked at`);
        assert.deepEqual(
          finds.filter((find) => find[2] === kind),
          [],
        );
      });
    }
    await judge(
      { name: 'a core dump of one’s own making', leaks: 'the memory of a process, into a file of the host' },
      () => assert.deepEqual([report.core.raised, report.core.dumped, report.core.files], [false, false, []]),
    );
    await judge({ name: 'the kernel’s keyrings', leaks: 'keys that the host’s account keeps there' }, () =>
      assert.deepEqual(report.keys, ['', '']),
    );
    assert.deepEqual(finds, []);
    assert.equal(report.terminal, false);
    assert.ok(report.pids.length < 12, `${report.pids.length} processes are visible`);
    assertRunKeptSecret(canary, result, scene);
    assertNoCanary(second, { outputs: { output: result.stdoutBytes, errors: result.stderr }, files: [scene.root] });
  },
  { skip: python, timeoutMs: 110_000 },
);

family.attack(
  { name: 'a value of awkward characters, in every form', leaks: LEAKS },
  async (caller) => {
    const canary = newCanary('awkward');
    using scene = createScene(caller);
    await using upstream = await startMirror();
    const jobs = reflections().map(({ name, path }) => ({
      name,
      host: BOUND,
      port: 443,
      timeout: 90,
      send: [`GET ${path} HTTP/1.1\r\n${bearer()}`],
    }));
    const script = 'echo "$API_TOKEN"; python3 /assets/wire.py /assets/jobs.json';
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'jobs.json': jobs }),
        ...['--secret', `API_TOKEN@${BOUND}`, '--', 'sh', '-c', script],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    assert.equal(result.status, 0, describeRun(result));
    const [placeholder = '', json = ''] = result.stdout.split('\n');
    assert.ok(upstream.requests.every((request) => receivedCredential(request) === canary.value));
    for (const { name, received } of JSON.parse(json) as JobResult[]) {
      const whole = dechunk(received);
      assert.deepEqual(findCanary(canary, whole), [], name);
      assert.notDeepEqual(findCanary({ value: placeholder }, whole), [], `${name}: ${received}`);
    }
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, callers: 'one' },
);
