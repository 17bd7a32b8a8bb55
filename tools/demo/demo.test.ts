import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawTable } from './table.ts';
import { judge, listFaults, mask } from './verdict.ts';
import type { Observation } from './verdict.ts';

const REAL = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz';
const PLACEHOLDER = 'sp_GITHUB_TOKEN_0123456789abcdefghijkl';
const GOOD: Observation = {
  client: 'curl',
  held: PLACEHOLDER,
  environment: `HOME=/home\nGITHUB_TOKEN=${PLACEHOLDER}\n`,
  received: [REAL, REAL],
  echoed: `{"login":"octocat","message":"you sent ${PLACEHOLDER}"} 200`,
  unlisted: '{"status":403,"code":"HOST_DENIED"}',
  leaks: [],
  watchedProcessCount: 3,
};

test('judge() finds nothing wrong with what is promised', () => {
  assert.deepEqual(listFaults([judge(GOOD, REAL)]), []);
  // What git prints: the status only.
  const git = {
    ...GOOD,
    echoed: `remote: you sent ${PLACEHOLDER}\nfatal: 403`,
    unlisted: 'fatal: returned error: 403',
  };
  assert.deepEqual(listFaults([judge(git, REAL)]), []);
});

test('judge() names each thing that is not as promised', () => {
  const base64 = Buffer.from(`x:${REAL}`).toString('base64');
  const cases: readonly (readonly [Partial<Observation>, RegExp])[] = [
    [{ held: REAL }, /variable in the sandbox holds the real value/],
    [{ held: '' }, /is empty/],
    [{ environment: `COPY=${base64}` }, /another variable/],
    [{ received: [] }, /received no credential/],
    [{ received: [REAL, PLACEHOLDER] }, /something else/],
    [{ echoed: `you sent ${REAL}` }, /brought the real value/],
    [{ echoed: `you sent ${PLACEHOLDER} and ${base64}` }, /brought the real value/],
    [{ echoed: 'you sent ********' }, /not the placeholder/],
    [{ echoed: '' }, /not the placeholder/],
    [{ unlisted: '200 OK' }, /did not answer 403/],
    [{ unlisted: '' }, /did not answer 403/],
    [{ leaks: ['the audit log'] }, /found in the audit log/],
    [{ watchedProcessCount: 0 }, /no process inside/],
    [{ failure: 'ended with status 125' }, /status 125/],
  ];
  for (const [change, fault] of cases) {
    const faults = listFaults([judge(GOOD, REAL), judge({ ...GOOD, ...change }, REAL)]);
    assert.match(faults.join('\n'), fault, JSON.stringify(Object.keys(change)));
  }
});

test('drawTable() fits 120 columns and never shows the real value', () => {
  const verdicts = [
    judge(GOOD, REAL),
    judge({ ...GOOD, client: 'Python urllib', held: REAL, echoed: REAL, received: ['x'.repeat(200)] }, REAL),
    judge({ ...GOOD, client: 'Python urllib', held: 'h'.repeat(99), echoed: `you sent ${'e'.repeat(99)}` }, REAL),
    judge({ ...GOOD, client: 'Python urllib', unlisted: 'u'.repeat(99), failure: 'f'.repeat(99) }, REAL),
  ];
  const table = drawTable(verdicts);
  const lines = table.split('\n');
  assert.equal(new Set(lines.map((line) => [...line].length)).size, 1);
  assert.ok([...lines[0]!].length <= 120, table);
  assert.ok(!table.includes(REAL));
  assert.match(table, /✘ THE REAL VALUE/);
});

test('mask() keeps the middle to itself', () => {
  assert.equal(mask(REAL), 'ghp_••••••••wxyz');
  assert.equal(mask('short'), '•••••');
});
