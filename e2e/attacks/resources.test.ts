import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { createScene } from '../harness/caller.ts';
import { newCanary } from '../harness/canary.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { createFamily } from './attack.ts';
import { BOUND } from './attempts.ts';
import type { Job } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { findReleased, readStatuses, runJobs } from './jobs.ts';
import { equip, readReport } from './scene.ts';

const family = createFamily(
  'resources',
  'Few bytes that cost much, slowness, floods: the gate must hold within its limits, and answer an honest request afterwards.',
);

const python = whyNotInside('python3');
const LEAKS = 'nothing; the gate is gone, and with it the sandbox’s every request';

addGauntletAttacks(family, ['exhaustion'], 'one');

family.attacks(
  'floods of names, garbage and half-open connections end, and an honest request works again',
  async (caller, judge) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const result = await sallyport(
      [
        ...['run', ...upstream.flags(), ...equip(scene, {}), '--secret', `API_TOKEN@${BOUND}`],
        ...['--', 'python3', '/assets/flood.py', BOUND, '10000', '3000'],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 90_000 },
    );
    const report = readReport(result);
    assert.equal(report['before'], 'HTTP/1.1 200 OK', result.stdout);
    await judge({ name: 'garbage on every port, by TCP and UDP', leaks: LEAKS }, () =>
      assert.equal(report['after garbage'], 'HTTP/1.1 200 OK', result.stdout),
    );
    await judge(
      {
        name: '10,000 names, more than there are addresses',
        leaks: 'nothing; addresses that stand for two names would leak a value',
      },
      () => {
        const codes = report['name codes'] as Record<string, number>;
        assert.ok((codes['0'] ?? 0) >= 4000 && (codes['2'] ?? 0) >= 5000, `names: ${JSON.stringify(codes)}`);
        assert.doesNotMatch(String(report['new name']), /resolved/);
        assert.equal(report['after names'], 'HTTP/1.1 200 OK', result.stdout);
        const noticed = result.audit.filter((event) => event['code'] === 'CAPACITY').length;
        assert.ok(noticed >= 1 && noticed < 100, `${noticed} events of the capacity`);
      },
    );
    await judge({ name: '3,000 connections that are begun and left', leaks: LEAKS }, () => {
      // While the connections hang it works, or fails at once and in words.
      const during = /^(HTTP\/1\.1 200 OK|ConnectionResetError|HTTP\/1\.1 5)/;
      assert.match(String(report['while half open']), during, result.stdout);
      assert.equal(report['afterwards'], 'HTTP/1.1 200 OK', result.stdout);
    });
    assert.ok(upstream.requests.every((request) => receivedCredential(request) === canary.value));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, timeoutMs: 110_000 },
);

/** The most memory that a process has had, in kilobytes. */
function readPeakKilobytes(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

/** At some 1,700 a second the long one takes a minute. */
const HALF_OPEN = process.env['SALLYPORT_ATTACKS_LONG'] === '1' ? 100_000 : 16_000;
/** More than the gate keeps. */
const HELD = 12_000;
/** The gate's memory at its peak. */
const MOST_MEGABYTES = 1_000;

family.attack(
  { name: 'half-open connections, 16,000 of them (or 100,000), 12,000 at a time', leaks: LEAKS },
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    let peak = 0;
    let timer: NodeJS.Timeout | undefined;
    const result = await sallyport(
      [
        ...['run', ...upstream.flags(), ...equip(scene, {}), '--secret', `API_TOKEN@${BOUND}`],
        ...['--', 'python3', '/assets/half_open.py', BOUND, String(HALF_OPEN), String(HELD)],
      ],
      {
        scene,
        env: { API_TOKEN: canary.value },
        timeoutMs: 100_000,
        onStart: (gate) => {
          const look = (): void => {
            try {
              peak = Math.max(peak, readPeakKilobytes(gate));
            } catch {
              clearInterval(timer);
            }
          };
          timer = setInterval(look, 200);
        },
      },
    );
    clearInterval(timer);
    const report = readReport(result);
    process.stdout.write(
      `# ${HALF_OPEN} half-open connections: ${Math.round(result.milliseconds)} ms, peak ${Math.round(peak / 1024)} MB\n`,
    );
    assert.deepEqual([report['before'], report['afterwards']], ['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK'], result.stdout);
    const opened = Object.values(report['outcomes'] as Record<string, number>).reduce((sum, one) => sum + one, 0);
    assert.equal(opened, HALF_OPEN);
    assert.ok(peak > 0 && peak < MOST_MEGABYTES * 1024, `the gate had ${Math.round(peak / 1024)} MB`);
    assert.ok(
      result.audit.some((event) => event['code'] === 'CAPACITY'),
      'the limit was not met',
    );
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, timeoutMs: 110_000, callers: 'one' },
);

family.attack(
  {
    name: 'every descriptor of the gate',
    leaks: 'nothing; a gate that cannot open its log or an upstream must fail closed',
  },
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const result = await sallyport(
      [
        ...['run', ...upstream.flags(), ...equip(scene, {}), '--secret', `API_TOKEN@${BOUND}`],
        ...['--', 'python3', '/assets/half_open.py', BOUND, '2000', '900'],
      ],
      {
        scene,
        env: { API_TOKEN: canary.value },
        through: ['sh', '-c', 'ulimit -n 200; exec "$@"', 'sh'],
        timeoutMs: 90_000,
      },
    );
    const report = readReport(result);
    assert.deepEqual(
      [report['before'], report['afterwards']],
      ['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK'],
      describeRun(result),
    );
    assert.ok(upstream.requests.every((request) => receivedCredential(request) === canary.value));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, callers: 'one' },
);

family.attacks(
  'floods of HTTP/2 end the connection and nothing else',
  async (caller, judge) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND], http2: true });
    const result = await sallyport(
      [
        ...['run', ...upstream.flags(), ...equip(scene, {}), '--secret', `API_TOKEN@${BOUND}`],
        ...['--', 'python3', '/assets/http2_flood.py', BOUND],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 90_000 },
    );
    const report = readReport(result);
    assert.equal(report['after nothing'], '2 200');
    const floods = Object.keys(report).filter((name) => !name.startsWith('after '));
    assert.ok(floods.length >= 10);
    for (const flood of floods) {
      await judge({ name: `HTTP/2: ${flood}`, leaks: LEAKS }, () => {
        assert.notEqual(report[flood], 'no h2');
        assert.equal(report[`after ${flood}`], '2 200', `${String(report[flood])}; ${describeRun(result)}`);
      });
    }
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python ?? whyNotInside('curl'), timeoutMs: 110_000, callers: 'one' },
);

/** 256 MB of zeros, compressed once and twice, as text of a request. */
const ZEROS = gzipSync(Buffer.alloc(256 * 1024 * 1024));

/** A request whose body is a bomb. */
function bomb(name: string, codings: string, body: Buffer, isChunked: boolean): Job {
  const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`;
  const head = `POST /attempt/bomb HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: close\r\nX-Api-Key: {API_TOKEN}\r\nContent-Encoding: ${codings}\r\n${framing}\r\n\r\n`;
  const text = body.toString('latin1');
  return {
    name, host: BOUND, port: 443, timeout: 20,
    send: [isChunked ? `${head}${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n` : head + text],
  }; // prettier-ignore
}

family.attacks(
  'request bodies that decode to too much are refused',
  async (caller, judge) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const bombs = [
      bomb('256 MB of zeros in gzip, with a length', 'gzip', ZEROS, false),
      bomb('256 MB of zeros in gzip, chunked', 'gzip', ZEROS, true),
      bomb('gzip within gzip, with a length', 'gzip, gzip', gzipSync(ZEROS), false),
      bomb('gzip within gzip, chunked', 'gzip, gzip', gzipSync(ZEROS), true),
    ];
    const flags = ['--secret', `API_TOKEN@${BOUND}`, '--secret-in', 'header', '--secret-in', 'body'];
    const { answers, output } = await runJobs(caller, bombs, {
      flags: [...upstream.flags(), ...flags],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
      shell: `curl -sS -m 20 -o /dev/null -w '%{http_code}' -H "X-Api-Key: $API_TOKEN" https://${BOUND}/attempt/alive 2>&1`,
    });
    assert.equal(output, '200');
    assert.ok(findReleased(upstream, canary).some(({ target }) => target === '/attempt/alive'));
    for (const { name } of bombs) {
      await judge({ name: `a request body of ${name}`, leaks: LEAKS }, () => {
        const { received, end } = answers.get(name) ?? assert.fail('no report');
        assert.deepEqual(readStatuses(received), [413], `${end} ${received.slice(0, 300)}`);
      });
    }
  },
  { skip: python ?? whyNotInside('curl'), callers: 'one' },
);
