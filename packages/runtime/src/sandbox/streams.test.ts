import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { planStreams } from './streams.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-streams-'));
after(() => rmSync(directory, { recursive: true, force: true }));

test('planStreams() hands on no descriptor of the host that could be opened again', () => {
  const [pipe, file] = [join(directory, 'pipe'), join(directory, 'file')];
  execFileSync('mkfifo', [pipe]);
  writeFileSync(file, '');
  const descriptors = [pipe, file].map((path) => openSync(path, constants.O_RDWR));
  try {
    for (const fd of descriptors) {
      const streams = { stdin: fd, stdout: fd, stderr: fd };
      const { stdio, relayed } = planStreams(streams, false);
      assert.deepEqual(stdio, ['pipe', 'pipe', 'pipe']);
      assert.deepEqual([...relayed], [[0, fd], [1, fd], [2, fd]]); // prettier-ignore
      // A runtime that copies by itself is given them, and gives the command others.
      assert.deepEqual(planStreams(streams, true).stdio, [fd, fd, fd]);
    }
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
});
