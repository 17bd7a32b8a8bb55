// `sallyport policy` as people and scripts use it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  FURTHER_HOST_PATTERNS,
  HOST_PATTERN_VECTORS,
} from '../packages/runtime/src/policy/host-pattern-cases.testing.ts';
import { CHECKOUT } from './harness/caller.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const HOME = mkdtempSync(join(tmpdir(), 'sallyport-policy-'));
after(() => rmSync(HOME, { recursive: true, force: true }));

/** Runs `sallyport policy check network ARGS`, with nothing in its home and no daemon. */
async function check(...args: readonly string[]) {
  const child = spawn(join(CHECKOUT, 'sallyport'), ['policy', 'check', 'network', ...args], {
    cwd: HOME,
    env: { PATH: SYSTEM_PATH, HOME, LANG: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

/** No argument of a program can hold a NUL. */
const isPassable = (text: string): boolean => !text.includes('\0');
/** A range over everything matches a special address, and yet opens none. */
const OPENS_NO_SPECIAL_ADDRESS = new Set(['0.0.0.0/0 192.0.2.7:443']);

test('policy check network decides each case of what patterns mean, and says what is wrong with the others', async () => {
  const cases = [
    ...HOST_PATTERN_VECTORS.map(({ pattern, target, match }) => [pattern, target, match] as const),
    ...FURTHER_HOST_PATTERNS,
  ].filter(([pattern, target]) => isPassable(pattern) && isPassable(target));
  const queue = [...cases];
  const work = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const [pattern, target, match] = next;
      // A host that begins with a hyphen stands after "--", as for any program.
      const host = target.startsWith('-') ? ['--', target] : [target];
      const result = await check('--json', '--allow', pattern, ...host);
      const name = `${JSON.stringify(pattern)} on ${JSON.stringify(target)}: ${result.stdout}${result.stderr}`;
      if (match === 'invalid') {
        assert.equal(result.status, 2, name);
        assert.equal(result.stdout, '', name);
        assert.match(result.stderr, /^sallyport: Host (?:pattern )?".*": .+\. .+ \[INVALID_HOST_PATTERN\]\n$/, name);
        continue;
      }
      const allowed = match && !OPENS_NO_SPECIAL_ADDRESS.has(`${pattern} ${target}`);
      assert.equal(result.status, allowed ? 0 : 1, name);
      const said = JSON.parse(result.stdout) as Record<string, unknown>;
      assert.equal(said['verdict'], allowed ? 'allow' : 'deny', name);
      assert.equal(said['remedy'] === null, allowed, name);
    }
  };
  await Promise.all([work(), work()]);
  assert.ok(cases.length > 150);
});

test('policy check network takes one value for each --allow and --deny, in any order, and denial wins', async () => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['a.test', '--allow', 'a.test'], 0, /^allowed {2}a\.test:443 {2}--allow a\.test, tls\n$/],
    [['--allow', 'a.test', 'a.test:80'], 0, /^allowed {2}a\.test:80 {2}--allow a\.test, http\n$/],
    [['--allow=a.test:22', 'a.test:22'], 0, /, tcp\n$/],
    [['--allow', 'b.test', '--allow', 'a.test', 'a.test'], 0, /--allow a\.test/],
    [['--deny', '**.b.test', '--allow', 'a.b.test', 'a.b.test'], 1, /^denied {2}a\.b\.test:443 {2}--deny \*\*\.b\.test \(remove --deny/],
    [['--deny', 'b.test', 'a.test'], 1, /no rule allows it \(--allow a\.test:443\)/],
    [['a.test'], 1, /no rule allows it/],
    [['10.0.0.1', '--allow', '0.0.0.0/0'], 1, /private addresses are denied unless a rule names them/],
  ]; // prettier-ignore
  for (const [args, status, stdout] of cases) {
    const result = await check(...args);
    assert.equal(result.status, status, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stdout, stdout, args.join(' '));
    assert.equal(result.stderr, '');
  }
  const bad: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /argument <host> is missing.*\[USAGE\]/],
    [['a.test', 'b.test'], /more arguments.*\[USAGE\]/],
    [['a.test', '--allow'], /--allow.*has no value.*\[USAGE\]/],
    [['a.test', '--allow', 'a.test', 'b.test'], /more arguments.*\[USAGE\]/],
    [['a.test', '--allow', ''], /it is empty.*\[INVALID_HOST_PATTERN\]/],
    [[''], /it is empty/],
    [['a.test', '--allow', 'a.test,b.test'], /character that no host name has/],
    [['a.test', '--allow', 'a.test', '--deny', '*'], /"\*" alone is no host/],
    [['a.test', '--permit', 'a.test'], /no option "--permit".*\[USAGE\]/],
  ];
  for (const [args, stderr] of bad) {
    const result = await check(...args);
    assert.equal(result.status, 2, args.join(' '));
    assert.equal(result.stdout, '');
    assert.match(result.stderr, stderr, args.join(' '));
  }
  const shared = await check('a.github.io', '--allow', '*.github.io');
  assert.equal(shared.status, 0);
  assert.match(shared.stderr, /different customers/);
});
