import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isWithin, parseVolume } from './volumes.ts';

test('parseVolume() reads source, destination and mode', () => {
  assert.deepEqual(parseVolume('/a/b:/c', '/w'), { source: '/a/b', destination: '/c', readOnly: false });
  assert.deepEqual(parseVolume('data:/c/:ro', '/w'), { source: '/w/data', destination: '/c', readOnly: true });
  assert.deepEqual(parseVolume('../x/:/c/../d:rw', '/w'), { source: '/x', destination: '/d', readOnly: false });
});

test('parseVolume() refuses what it cannot mean or the sandbox cannot give up', () => {
  for (const text of [
    '',
    '/a',
    ':/c',
    '/a:',
    '/a:c',
    '/a:/c:rx',
    '/a:/c:ro:ro',
    '/a:/',
    '/a:/c/..',
    '/a:/proc/x',
    '/a:/usr/lib/x',
    '/a:/dev/shm',
    '/a:/tmp',
    '/a\0:/c',
  ]) {
    assert.throws(() => parseVolume(text, '/w'), { code: 'INVALID_MOUNT' }, JSON.stringify(text));
  }
});

test('isWithin() compares whole path components', () => {
  assert.equal(isWithin('/a/b', '/a'), true);
  assert.equal(isWithin('/a', '/a'), true);
  assert.equal(isWithin('/ab', '/a'), false);
  assert.equal(isWithin('/a', '/a/b'), false);
  assert.equal(isWithin('/a', '/'), true);
});
