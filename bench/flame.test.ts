import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawFlames, foldProfile, type CpuProfile } from './flame.ts';

const frame = (functionName: string, url = '') => ({ functionName, url, lineNumber: 9 });

const PROFILE: CpuProfile = {
  nodes: [
    { id: 1, callFrame: frame('(root)'), children: [2, 3] },
    { id: 2, callFrame: frame('serve', 'file:///x/packages/runtime/src/gate/gate.ts'), children: [4] },
    { id: 3, callFrame: frame('(idle)') },
    { id: 4, callFrame: frame('write<T>') },
  ],
  samples: [3, 3, 3, 3, 2, 4, 4, 3, 4, 2],
  timeDeltas: [1, 1, 1, 1, 100, 100, 100, 1000, 100, 100],
};

test('foldProfile() adds up the time of each stack and leaves out what is idle', () => {
  const root = foldProfile(PROFILE);
  assert.equal(root.time, 500);
  const [serve] = [...root.children.values()];
  assert.deepEqual([serve?.name, serve?.isOwn, serve?.time], ['serve gate.ts:10', true, 500]);
  assert.equal(serve?.children.get('write<T>')?.time, 300);
});

test('drawFlames() draws each frame as wide as its share, and escapes names', () => {
  const svg = drawFlames(foldProfile(PROFILE), 'a & b');
  assert.match(svg, /<text[^>]*>a &amp; b<\/text>/);
  assert.match(svg, /<title>write&lt;T&gt;: 60\.0 %<\/title><rect x="0\.0" y="\d+" width="719\.5"/);
  assert.equal(svg.includes('(idle)'), false);
});
