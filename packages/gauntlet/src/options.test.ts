import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError, readOptions } from './options.ts';

const WELL = ['--proxy', 'http://127.0.0.1:8080', '--placeholder', 'sp_x'];

const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [[], /how to reach/],
  [['--proxy', '127.0.0.1:8080', '--placeholder', 'x'], /--proxy takes/],
  [['--proxy', 'http://h:99999', '--placeholder', 'x'], /port from 1 to 65535/],
  [[...WELL, '--start', 'run {}'], /how to reach/],
  [['--transparent', '--placeholder', 'x'], /go together/],
  [[...WELL, '--connect', 'a.example:443:127.0.0.1:1'], /go together/],
  [['--transparent', '--connect', 'a.example:443', '--placeholder', 'x'], /--connect takes/],
  [WELL.slice(0, 2), /give the placeholder/],
  [[...WELL, '--placeholder-env', 'X'], /give the placeholder/],
  [[...WELL, '--value', 'short'], /16 characters/],
  [[...WELL, '--value-env', 'UNSET'], /UNSET is not set/],
  [[...WELL, '--without', 'tls'], /--without takes/],
  [[...WELL, '--bound', 'UPPER.example'], /--bound takes/],
  [[...WELL, '--seed', 'x'], /whole number/],
  [[...WELL, '--ca', '/nowhere/ca.pem'], /cannot be read/],
  [[...WELL, '--colour'], /colour/],
  [[...WELL, 'positional'], /positional/],
];

test('readOptions() says what is wrong', () => {
  for (const [args, message] of WRONG) {
    assert.throws(
      () => readOptions(args, {}, 1),
      (error: unknown) => error instanceof UsageError && message.test(error.message),
      args.join(' '),
    );
  }
});

test('readOptions() takes a proxy, a map and a wrapper', () => {
  assert.deepEqual(readOptions(WELL, {}, 5).proxy, { host: '127.0.0.1', port: 8080 });
  assert.equal(readOptions(WELL, {}, 5).seed, 5);
  assert.deepEqual([...readOptions(WELL, {}, 5).without], ['sandbox', 'second-secret']);
  const map = readOptions(['--transparent', '--connect', 'a.example:443:[::1]:90', '--placeholder-env', 'X'], {}, 1);
  assert.deepEqual(map.addresses.get('a.example:443'), { host: '::1', port: 90 });
  const wrapped = readOptions(['--start', 'run -- {}', '--placeholder', 'x'], {}, 1);
  assert.equal(wrapped.clientNode, 'node');
  assert.ok(!wrapped.without.has('sandbox'));
});
