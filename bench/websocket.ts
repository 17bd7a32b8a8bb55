/**
 * Measures the WebSocket path without sockets: masking, following frames that are passed on as they are, and frames that are redacted.
 *
 * `node --conditions=sallyport-source bench/websocket.ts`
 */
import { Duplex } from 'node:stream';

import { FrameRelay } from '../packages/runtime/src/gate/frame-relay.ts';
import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';
import { OPCODE } from '../packages/runtime/src/websocket/frame.ts';
import { FrameBoundary } from '../packages/runtime/src/websocket/frame-boundary.ts';
import { encodeFrameHeader } from '../packages/runtime/src/websocket/frame-header.ts';
import { applyMask } from '../packages/runtime/src/websocket/mask.ts';

const CHUNK_BYTES = 64 * 1024;
const ROUNDS = 7;

function measure(name: string, bytes: number, messages: number, work: () => void): void {
  const times = Array.from({ length: ROUNDS }, () => {
    const started = performance.now();
    work();
    return performance.now() - started;
  });
  const best = Math.min(...times);
  const rate = `${(bytes / best / 1000).toFixed(0)} MB/s, ${(messages / best / 1000).toFixed(2)} million/s`;
  process.stdout.write(`${name.padEnd(48)} ${rate}\n`);
}

/** As many frames with that payload as fit a chunk. */
function fill(payload: Buffer, mask: number | null): { readonly chunk: Buffer; readonly count: number } {
  const header = encodeFrameHeader({ opcode: OPCODE.text, isFinal: true, length: payload.length, mask });
  const frame = Buffer.concat([header, payload]);
  const count = Math.max(1, Math.floor(CHUNK_BYTES / frame.length));
  return { chunk: Buffer.concat(Array.from({ length: count }, () => frame)), count };
}

const redactor = new Redactor(
  Array.from({ length: 4 }, (_, index) => ({
    name: `S${index}`,
    placeholder: `sp_S${index}_0123456789abcdefghijkl`,
    values: [new SecretValue(`ghp_${index}_abcdefghijklmnopqrstuvwxyz0123456789`)],
  })),
);

for (const bytes of [20, 64, 200, 4096, 60_000]) {
  const payload = Buffer.from(`{"text":"${'some words of text, '.repeat(4000)}`.slice(0, bytes));
  const repeat = 400;
  const data = Buffer.from(payload);
  const calls = Math.ceil((CHUNK_BYTES * repeat) / bytes);
  measure(`mask ${bytes} bytes`, calls * bytes, calls, () => {
    for (let call = 0; call < calls; call += 1) applyMask(data, 0x12345678, call);
  });
  const client = fill(payload, 7);
  measure(`follow ${bytes} bytes`, client.chunk.length * repeat, client.count * repeat, () => {
    const boundary = new FrameBoundary();
    for (let round = 0; round < repeat; round += 1) boundary.follow(client.chunk);
  });
  const server = fill(payload, null);
  const nowhere = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => done(),
    writev: (_chunks, done) => done(),
  });
  const relay = new FrameRelay({
    side: 'server',
    compression: false,
    from: nowhere,
    to: nowhere,
    openMessage: () => redactor.stream(),
    passControl: ({ payload: same }) => same,
    onWritten: () => undefined,
    onFault: () => process.exit(1),
    onEnd: () => undefined,
  });
  measure(`redact ${bytes} bytes`, server.chunk.length * repeat, server.count * repeat, () => {
    for (let round = 0; round < repeat; round += 1) relay.receive(server.chunk);
  });
}
