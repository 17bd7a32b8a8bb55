import assert from 'node:assert/strict';
import { test } from 'node:test';
import { daemonSocket } from '@sallyport/sdk/client';
import { daemonPaths } from '../daemon/paths.ts';

test('the SDK looks for the daemon where the daemon listens', () => {
  for (const environment of [
    {},
    { XDG_STATE_HOME: '/state' },
    { XDG_STATE_HOME: 'relative' },
    { SALLYPORT_SOCKET: '/run/one', XDG_STATE_HOME: '/state' },
    { SALLYPORT_SOCKET: '' },
  ]) {
    assert.equal(daemonSocket(environment), daemonPaths(environment).socket, JSON.stringify(environment));
  }
});
