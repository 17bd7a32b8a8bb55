import assert from 'node:assert/strict';
import test from 'node:test';
import { select } from './selection.ts';

const ALL = ['down', 'down-tunnel', 'Up', 'up-body'];
const name = (each: string): string => each;

test('select() takes an exact name alone, else all that begin so, in the order in which they are', () => {
  assert.deepEqual(select(ALL, name, undefined), ALL);
  assert.deepEqual(select(ALL, name, 'down'), ['down']);
  assert.deepEqual(select(ALL, name, 'up-body,dow'), ['down', 'down-tunnel', 'up-body']);
  assert.deepEqual(select(ALL, name, 'UP'), ['Up']);
});

test('select() refuses what nothing is called', () => {
  assert.throws(() => select(ALL, name, 'down,sideways'), /"sideways".*down-tunnel/);
});
