import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SandboxState } from '@sallyport/sdk';
import { nextState, recoveredState, type LifecycleEvent } from './lifecycle.ts';

const STATES: readonly SandboxState[] = ['created', 'starting', 'running', 'stopping', 'stopped', 'failed', 'removing'];

test('nextState() leads through a life', () => {
  const life: [LifecycleEvent, SandboxState][] = [
    ['start', 'starting'],
    ['started', 'running'],
    ['stop', 'stopping'],
    ['stopped', 'stopped'],
    ['start', 'starting'],
    ['start failed', 'failed'],
    ['start', 'starting'],
    ['started', 'running'],
    ['ended', 'failed'],
    ['remove', 'removing'],
  ];
  let state: SandboxState = 'created';
  for (const [event, expected] of life) {
    state = nextState('box', state, event);
    assert.equal(state, expected, event);
  }
});

test('nextState() takes what is so already for done, and refuses the rest with what to do', () => {
  assert.equal(nextState('box', 'running', 'start'), 'running');
  for (const state of ['created', 'stopped', 'failed'] as const) assert.equal(nextState('box', state, 'stop'), state);
  assert.throws(() => nextState('box', 'running', 'remove'), { code: 'SANDBOX_RUNNING' });
  assert.equal(nextState('box', 'running', 'force remove'), 'removing');
  for (const state of ['starting', 'stopping', 'removing'] as const) {
    for (const event of ['start', 'stop', 'remove', 'force remove'] as const) {
      assert.throws(() => nextState('box', state, event), { code: 'SANDBOX_BUSY' }, `${state} ${event}`);
    }
  }
});

test('recoveredState() never says that something is still on its way', () => {
  for (const state of STATES) {
    for (const isAlive of [true, false]) {
      const found = recoveredState(state, isAlive);
      assert.ok(!['starting', 'stopping'].includes(found), state);
      if (!isAlive) assert.notEqual(found, 'running');
    }
  }
  assert.equal(recoveredState('running', true), 'running');
});
