import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Authority } from '../http/message.ts';
import { MAX_IDLE_PER_AUTHORITY } from './limits.ts';
import type { UpstreamConnection } from './upstream-connection.ts';
import { UpstreamPool } from './upstream-pool.ts';

const AUTHORITY: Authority = { scheme: 'http', host: 'api.example.com', port: 80 };
/** As many as a busy client has. */
const AT_ONCE = 200;

test('UpstreamPool keeps what many requests at once have used for the next as many, up to its limit', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  let dials = 0;
  const dial = async () => {
    dials += 1;
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return { outcome: 'connected', socket, protocol: 'http/1.1' } as const;
  };
  const pool = new UpstreamPool({ dial }, { nowMs: 0 }, 30_000);
  t.after(() => {
    pool.close();
    server.close();
  });
  const open = async (): Promise<UpstreamConnection> => {
    const idle = pool.takeIdle(AUTHORITY);
    if (idle !== null) return idle;
    const lease = await pool.connect(AUTHORITY);
    assert.equal(lease.outcome, 'connected');
    return lease.connection;
  };
  const work = async (count: number): Promise<readonly UpstreamConnection[]> => {
    const connections = await Promise.all(Array.from({ length: count }, open));
    for (const connection of connections) pool.release(connection);
    return connections;
  };

  await work(AT_ONCE);
  await work(AT_ONCE);
  assert.equal(dials, AT_ONCE);

  const connections = await work(MAX_IDLE_PER_AUTHORITY + 1);
  assert.deepEqual(
    connections.map(({ closed }) => closed).filter(Boolean),
    [true],
    'one more than the limit is closed',
  );
});
