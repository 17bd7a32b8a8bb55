import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import fc from 'fast-check';
import { parseMethods } from './method.ts';
import { canonicalPath, matchesPath, mayMatchPath, parsePathGlob } from './path-glob.ts';

test('matchesPath() compares segment by segment', () => {
  const cases: [glob: string, path: string, expected: boolean][] = [
    ['/user', '/user', true],
    ['/user', '/user/', true],
    ['/user/', '/user', true],
    ['/user', '/User', false],
    ['/user', '/users', false],
    ['/user', '/user/x', false],
    ['/', '/', true],
    ['/', '/x', false],
    ['/*', '/', false],
    ['/*', '/x', true],
    ['/*', '/x/y', false],
    ['/**', '/', true],
    ['/**', '/a/b/c', true],
    ['/repos/**', '/repos', true],
    ['/repos/**', '/repos/a/b', true],
    ['/repos/**', '/repositories', false],
    ['/repos/*/issues', '/repos/a/issues', true],
    ['/repos/*/issues', '/repos/a/b/issues', false],
    ['/repos/**/issues', '/repos/issues', true],
    ['/repos/**/issues', '/repos/a/b/issues', true],
    ['/repos/**/issues', '/repos/a/b/issues/1', false],
    ['/**/a/b/**/c', '/a/x/a/b/y/c', true],
    ['/**/a/b/**/b/c', '/x/a/b/c', false],
    ['/a/**/a', '/a', false],
    ['/v*/models', '/v1/models', true],
    ['/v*1*/models', '/v1/models', true],
    ['/v*ab*b/models', '/vab/models', false],
    ['/v*ab*b/models', '/vabb/models', true],
    ['/a*a', '/a', false],
  ];
  for (const [glob, path, expected] of cases) {
    assert.equal(matchesPath(parsePathGlob(glob), canonicalPath(path) ?? ''), expected, `${glob} ${path}`);
  }
});

test('matchesPath() agrees with a regular expression for any glob and path', () => {
  const segment = fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 1, maxLength: 4 });
  const globs = fc.array(fc.oneof(segment, fc.constant('**')), { maxLength: 6 });
  const paths = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 3 }), { maxLength: 7 });
  fc.assert(
    fc.property(globs, paths, (parts, names) => {
      fc.pre(parts.every((part) => part === '**' || !part.includes('**')));
      const pattern = parts
        .map((part) => {
          if (part === '**') return '(?:/[^/]+)*';
          return part === '*' ? '/[^/]+' : `/${part.replaceAll('*', '[^/]*')}`;
        })
        .join('');
      const path = `/${names.join('/')}`;
      const expected = new RegExp(`^${pattern}$`, 'u').test(path === '/' ? '' : path);
      assert.equal(matchesPath(parsePathGlob(`/${parts.join('/')}`), path), expected);
    }),
    { numRuns: 2000 },
  );
});

test('canonicalPath() decodes, and knows no path that servers could read in different ways', () => {
  const cases: [target: string, expected: string | null][] = [
    ['/v1/models?limit=1', '/v1/models'],
    ['/v1/%6dodels', '/v1/models'],
    ['/v1/models/', '/v1/models'],
    ['/', '/'],
    ['/?x=/a/b', '/'],
    ['/caf%C3%A9', '/café'],
    ['/caf\u00c3\u00a9', '/café'],
    ['/caf%E9', null],
    ['/@scope%2fname', '/@scope%2Fname'],
    ['*', null],
    ['https://h/x', null],
    ['/a//b', null],
    ['//a', null],
    ['/a/./b', null],
    ['/a/../b', null],
    ['/a/%2e%2E/b', null],
    ['/a/..;x/b', null],
    ['/a/..%2fb', null],
    ['/a%2f%2e%2e%2fb', null],
    ['/a/%252e%252e/b', null],
    ['/a%5c..%5cb', null],
    ['/a\\b', null],
    ['/a%00b', null],
    ['/a%0d%0ab', null],
    ['/a%', null],
    ['/a%4', null],
    ['/a%zz', null],
    ['/a%2F%2Fb', null],
    ['/a'.repeat(1024), '/a'.repeat(1024)],
    ['/a'.repeat(1025), null],
    [`/a${'%2Fa'.repeat(1024)}`, null],
  ];
  for (const [target, expected] of cases) assert.equal(canonicalPath(target), expected, target);
});

test('matchesPath() wants every reading of a path, mayMatchPath() one', () => {
  const cases: [target: string, glob: string, surely: boolean, maybe: boolean][] = [
    ['/projects/group%2Fname', '/projects/**', true, true],
    ['/projects/group%2Fname', '/projects/*', false, true],
    ['/projects/group%2Fname', '/projects/*/name', false, true],
    ['/projects/group%2Fname', '/projects/other', false, false],
    ['/admin;x=1/users', '/admin/*', false, true],
    ['/admin%3bx/users;y', '/admin/users', false, true],
    ['/admin%3bx%2Fusers;y', '/admin/users', false, true],
    ['/v1/secret;.json', '/v1/*.json', false, true],
    ['/v1/list;page=2', '/v1/*', true, true],
    ['/repos/Acme/Site', '/repos/acme/**', false, true],
    ['/repos/acme/site', '/repos/Acme/**', false, true],
  ];
  for (const [target, glob, surely, maybe] of cases) {
    const path = canonicalPath(target) ?? '';
    const found = [matchesPath(parsePathGlob(glob), path), mayMatchPath(parsePathGlob(glob), path)];
    assert.deepEqual(found, [surely, maybe], `${target} ${glob}`);
  }
});

test('matchesPath() wants every reading of semicolons, mayMatchPath() one, and that in any case', () => {
  const cases: [glob: string, path: string, surely: boolean, maybe: boolean][] = [
    ['/admin/**', '/admin;x=1/users', false, true],
    ['/admin/**', '/ADMIN/users', false, true],
    ['/admin/**', '/Admin;x%2Fusers', false, true],
    ['/admin/**', '/administration', false, false],
    ['/Admin/**', '/admin/users', false, true],
    ['/files/*.txt', '/files/secret;.txt', false, true],
    ['/files/*', '/files/secret;v=1', true, true],
    ['/files/a;b', '/files/a;b', false, true],
    ['/files/a;b', '/files/a', false, false],
  ];
  for (const [glob, path, surely, maybe] of cases) {
    const canonical = canonicalPath(path) ?? '';
    const parsed = parsePathGlob(glob);
    assert.deepEqual(
      [matchesPath(parsed, canonical), mayMatchPath(parsed, canonical)],
      [surely, maybe],
      `${glob} ${path}`,
    );
  }
});

test('parsePathGlob() refuses what could not be meant', () => {
  const wrong = ['', 'v1', '/a//b', '/../a', '/a/./b', '/a**', '/**a', '/a%20b', '/a?b', '/a#b', '/a\\b', '/a\nb'];
  for (const text of [...wrong, `/${'x'.repeat(600)}`, '/x'.repeat(40)]) {
    assert.throws(
      () => parsePathGlob(text),
      (error) => error instanceof SallyportError && error.code === 'INVALID_PATH_GLOB',
      text,
    );
  }
});

test('parseMethods() takes tokens, each once, in upper case', () => {
  assert.deepEqual(parseMethods('get, POST,GET'), ['GET', 'POST']);
  for (const text of ['', 'GET,', '*', 'G*', 'G T', 'GÉT', 'A'.repeat(40)]) {
    assert.throws(
      () => parseMethods(text),
      (error) => error instanceof SallyportError && error.code === 'INVALID_METHOD',
      text,
    );
  }
});
