import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from './harness/caller.ts';

const document = readFileSync(join(CHECKOUT, 'SECURITY.md'), 'utf8');

/** The text between a heading and the next of its level. */
function section(heading: string): string {
  const start = document.indexOf(`\n${heading}`);
  assert.ok(start >= 0, `SECURITY.md has no "${heading}"`);
  const level = /^#+ /.exec(heading)![0];
  const end = document.indexOf(`\n${level}`, start + heading.length);
  return document.slice(start, end < 0 ? undefined : end);
}

/** Files and test names that a text cites: `path` "name". */
function citations(text: string): { readonly file: string; readonly name: string }[] {
  return [...text.matchAll(/^- `([\w./-]+\.test\.ts)` "(.+)"$/gm)].map(([, file = '', name = '']) => ({ file, name }));
}

test('SECURITY.md names tests that exist', () => {
  const cited = citations(document);
  assert.ok(cited.length >= 30, `only ${cited.length} tests are cited`);
  for (const { file, name } of cited) {
    const path = join(CHECKOUT, file);
    assert.ok(existsSync(path), `${file} does not exist`);
    const source = readFileSync(path, 'utf8');
    const isThere = ["'", '"', '`'].some((quote) => source.includes(`${quote}${name}${quote}`));
    assert.ok(isThere, `${file} has no test ${JSON.stringify(name)}`);
  }
  // A citation that is written otherwise would not be checked.
  assert.equal(document.split('.test.ts` "').length - 1, cited.length);
});

test('SECURITY.md holds each promise by a test', () => {
  for (const number of [1, 2, 3, 4, 5, 6]) {
    const cited = citations(section(`### ${number}. `));
    assert.ok(cited.length > 0, `promise ${number} has no test`);
  }
});
