import assert from 'node:assert/strict';
import type net from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { Http2Upstream } from './http2-upstream.ts';
import { UPSTREAM_END_MS } from './limits.ts';

/** A socket whose other side takes nothing. */
class StuckSocket extends Duplex {
  override _read(): void {}
  override _write(): void {}
  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }
}

test('destroy() gives up the socket of an upstream that takes nothing', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const socket = new StuckSocket();
  let closed = 0;
  const upstream = new Http2Upstream(
    socket as unknown as net.Socket,
    'https://a.example:443',
    () => 0,
    () => (closed += 1),
  );
  upstream.destroy();
  assert.equal(closed, 1);
  assert.equal(socket.destroyed, false);
  t.mock.timers.tick(UPSTREAM_END_MS);
  assert.equal(socket.destroyed, true);
});
