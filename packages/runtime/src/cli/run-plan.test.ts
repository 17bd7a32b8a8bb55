import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import fc from 'fast-check';
import type { RunPlan } from '../engine/plan.ts';
import { planRun, type RunFlags } from './run-plan.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-plan-'));
after(() => rmSync(directory, { recursive: true }));

const NO_FLAGS: RunFlags = {
  secret: [], service: [], secretIn: [], allow: [], deny: [], tunnel: [], env: [], envFile: [], volume: [], workspace: true, resolve: [], upstreamCa: [],
  clientCert: [],
}; // prettier-ignore

async function plan(
  flags: Partial<RunFlags>,
  environment: Readonly<Record<string, string>> = {},
  command: readonly string[] = ['true'],
): Promise<RunPlan & { readonly notices: readonly string[] }> {
  const notices: string[] = [];
  const reporter = { notice: (text: string) => void notices.push(text), detail: () => undefined };
  const planned = planRun({ ...NO_FLAGS, ...flags }, command, { environment, cwd: '/work' }, reporter);
  return { ...planned, notices };
}

async function refusal(
  flags: Partial<RunFlags>,
  environment: Readonly<Record<string, string>> = {},
): Promise<SallyportError> {
  try {
    await plan(flags, environment);
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new assert.AssertionError({ message: `nothing was refused in ${JSON.stringify(flags)}` });
}

let files = 0;
function envFile(text: string | Buffer): string {
  const file = join(directory, `${(files += 1)}.env`);
  writeFileSync(file, text);
  return file;
}

test('planRun() reads environment files as they are, line by line', async () => {
  const cases: [text: string, expected: Record<string, string>][] = [
    ['', {}],
    ['A=1', { A: '1' }],
    ['A=1\nB=2\n', { A: '1', B: '2' }],
    ['A=1\r\nB=2\r\n', { A: '1', B: '2' }],
    ['\uFEFFA=1\n', { A: '1' }],
    ['# A=1\n  # B=2\n\n   \nC=3', { C: '3' }],
    ['  A= with spaces  ', { A: ' with spaces  ' }],
    ['A="quoted"\nB=\'single\'\nC=$A', { A: '"quoted"', B: "'single'", C: '$A' }],
    ['A=b=c\nB==\nC=', { A: 'b=c', B: '=', C: '' }],
    ['A=1\nA=2', { A: '2' }],
    ['FROM_HOST\nABSENT', { FROM_HOST: 'host value' }],
    ['A=\u00fc\u20ac', { A: '\u00fc\u20ac' }],
  ];
  for (const [text, expected] of cases) {
    const { environment } = await plan({ envFile: [envFile(text)] }, { FROM_HOST: 'host value', A: 'not this' });
    assert.deepEqual(Object.fromEntries(environment), expected, JSON.stringify(text));
  }
});

test('planRun() gives later files and then options the last word', async () => {
  const { environment } = await plan(
    { envFile: [envFile('A=1\nB=1\nC=1'), envFile('B=2\nC=2')], env: ['C=3', 'D', 'ABSENT', 'EMPTY'] },
    { D: 'host', EMPTY: '' },
  );
  assert.deepEqual(Object.fromEntries(environment), { A: '1', B: '2', C: '3', D: 'host', EMPTY: '' });
});

test('planRun() gives back any variables that were written to a file', async () => {
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/);
  const value = fc.string({ unit: 'binary' }).filter((text) => !/[\0\r\n]/.test(text) && !/[\ud800-\udfff]/.test(text));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(name, value, { noNullPrototype: true }), async (variables) => {
      const text = Object.entries(variables)
        .map(([key, item]) => `${key}=${item}\n`)
        .join('');
      const { environment } = await plan({ envFile: [envFile(text)] });
      assert.deepEqual(Object.fromEntries(environment), variables);
    }),
    { numRuns: 100 },
  );
});

test('planRun() refuses what is no variable, by its line and without quoting what may be a value', async () => {
  const secretLine = 'AKIA/not+a+name/0815';
  const cases: [Partial<RunFlags>, RegExp][] = [
    [
      { envFile: [envFile(`A=1\n\n${secretLine}`)] },
      /^--env-file "[^"]+", line 3: what stands there is no variable name/,
    ],
    [{ envFile: [envFile(`${secretLine}=x`)] }, /line 1: what stands there/],
    [{ envFile: [envFile('A B=1')] }, /line 1/],
    [{ envFile: [envFile('=1')] }, /line 1/],
    [{ envFile: [envFile('A=\0')] }, /line 1: the value of A holds a NUL/],
    [{ env: ['1A=x'] }, /^--env: "1A" is no variable name/],
    [{ env: [secretLine] }, /^--env: what stands there is no variable name/],
    [{ env: [''] }, /^--env: what stands there/],
    [{ env: ['=x'] }, /^--env: "" is no variable name/],
    [{ env: [`${'A'.repeat(129)}=x`] }, /is no variable name/],
    [{ env: ['A=\0'] }, /^--env: the value of A holds a NUL/],
  ];
  for (const [flags, says] of cases) {
    const error = await refusal(flags);
    assert.equal(error.code, 'INVALID_ENVIRONMENT');
    assert.match(error.message, says);
    assert.ok(!error.message.includes('AKIA'), error.message);
  }
  assert.equal((await refusal({ envFile: [join(directory, 'absent')] })).code, 'UNREADABLE_FILE');
  assert.equal((await refusal({ envFile: [directory] })).code, 'UNREADABLE_FILE');
});

test('planRun() takes and refuses names as host names are', async () => {
  for (const name of ['a', '0', 'worker-7', 'a'.repeat(63), 'a--b']) assert.equal((await plan({ name })).name, name);
  for (const name of ['', '-a', 'a-', 'A', 'a.b', 'a_b', 'a b', 'a\n', 'a'.repeat(64), '\u00fc']) {
    assert.equal((await refusal({ name })).code, 'INVALID_NAME', JSON.stringify(name));
  }
  const { name } = await plan({});
  assert.match(name, /^run-[0-9a-f]{8}$/);
  assert.notEqual((await plan({})).name, name);
});

test('planRun() gives each secret a placeholder of its own and keeps values out of everything else', async () => {
  const value = 'the-value-0815-4711';
  const planned = await plan({ secret: ['A@a.example', `B=${value}2@b.example`], env: ['PLAIN=x'] }, { A: value });
  const secrets = planned.secrets.secrets
    .map(({ env, placeholder }) => [env, placeholder] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  assert.deepEqual(
    secrets.map(([env]) => env),
    ['A', 'B'],
  );
  for (const [env, placeholder] of secrets) assert.match(placeholder, new RegExp(`^sp_${env}_[0-9A-Za-z]{22}$`));
  assert.ok(!JSON.stringify(planned).includes(value));
  const again = await plan({ secret: ['A@a.example'] }, { A: value });
  assert.ok(!secrets.some(([, placeholder]) => placeholder === again.secrets.secrets[0]?.placeholder));
  assert.match((await plan({ secret: ['A@*.s3.amazonaws.com'] }, { A: value })).notices.join(), /amazonaws/);
});

test('planRun() refuses secrets that are unset, contradictory or exposed, and never tells a value', async () => {
  const value = 'the-value-0815-4711';
  const secret = [`T=${value}@h.example`];
  const cases: [Partial<RunFlags>, string, Record<string, string>?][] = [
    [{ secret: ['T@h.example'] }, 'SECRET_SOURCE_UNSET'],
    [{ secret: ['T@h.example'] }, 'SECRET_SOURCE_UNSET', { T: '' }],
    [{ secret: ['T@h.example'] }, 'SECRET_VALUE_TOO_SHORT', { T: 'short' }],
    [{ secret: ['T@h.example'] }, 'INVALID_SECRET_VALUE', { T: `${value}\n` }],
    [{ secret: [...secret, `T=${value}x@h.example`] }, 'SECRET_CONFLICT'],
    [{ secret, env: ['T=x'] }, 'SECRET_CONFLICT'],
    [{ secret, env: [`COPY=<${value}>`] }, 'SECRET_CONFLICT'],
    [{ secret, env: ['COPY'] }, 'SECRET_CONFLICT', { COPY: value }],
    [{ workdir: 'relative' }, 'INVALID_MOUNT'],
  ];
  for (const [flags, code, environment] of cases) {
    const error = await refusal(flags, environment);
    assert.equal(error.code, code, JSON.stringify(flags));
    assert.ok(!error.message.includes(value), error.message);
  }
  await assert.rejects(plan({ secret }, {}, ['echo', `x${value}`]), { code: 'SECRET_CONFLICT' });
  const merged = await plan({ secret: [...secret, `T=${value}@other.example`] });
  assert.deepEqual(
    merged.secrets.secrets.map(({ hosts }) => hosts.length),
    [2],
  );
});
