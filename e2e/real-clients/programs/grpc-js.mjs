// @grpc/grpc-js: the calls that every gRPC client of the table makes, with messages of plain bytes.
import { once } from 'node:events';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const client = new grpc.Client(process.argv[2], grpc.credentials.createSsl(), {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
});
const metadata = new grpc.Metadata();
metadata.set('authorization', `Bearer ${process.env.API_TOKEN}`);
const plain = (bytes) => bytes;
const path = (method) => `/echo.Echo/${method}`;

function unary(method, message, options = {}) {
  return new Promise((resolve) => {
    let trailer;
    const call = client.makeUnaryRequest(path(method), plain, plain, message, metadata, options, (error, reply) => {
      setImmediate(() => resolve({ error, reply, trailer }));
    });
    call.on('status', (status) => {
      trailer = status.metadata.get('x-reflected')[0];
    });
  });
}

async function readAll(call) {
  const pieces = [];
  for await (const piece of call) pieces.push(piece.toString());
  return pieces.join(',');
}

const first = await unary('Unary', Buffer.from('hello'));
if (first.error) throw first.error;
console.log(`unary=${first.reply}`);
console.log(`trailer=${first.trailer}`);

console.log(
  `server=${await readAll(client.makeServerStreamRequest(path('ServerStream'), plain, plain, Buffer.from('go'), metadata))}`,
);

const counted = await new Promise((resolve, reject) => {
  const call = client.makeClientStreamRequest(path('ClientStream'), plain, plain, metadata, (error, reply) =>
    error ? reject(error) : resolve(reply),
  );
  for (const text of ['a', 'b', 'c']) call.write(Buffer.from(text));
  call.end();
});
console.log(`client=${counted}`);

const bidi = client.makeBidiStreamRequest(path('Bidi'), plain, plain, metadata);
const echoed = [];
for (const text of ['a', 'b', 'c']) {
  bidi.write(Buffer.from(text));
  const [piece] = await once(bidi, 'data');
  echoed.push(piece.toString());
}
bidi.end();
await once(bidi, 'end');
console.log(`bidi=${echoed.join(',')}`);

const big = await unary('Unary', Buffer.alloc(50 * 1024 * 1024, 'm'));
if (big.error) throw big.error;
console.log(`big=${big.reply.length}`);

const leak = await unary('Leak', Buffer.from('hello'));
console.log(`leak=${leak.error.code}`);

const late = await unary('Never', Buffer.from('hello'), { deadline: Date.now() + 500 });
console.log(`deadline=${late.error.code}`);

const cancelled = client.makeBidiStreamRequest(path('Hold'), plain, plain, metadata);
cancelled.write(Buffer.from('a'));
await once(cancelled, 'data');
const failed = once(cancelled, 'error', { signal: AbortSignal.timeout(5000) });
cancelled.cancel();
const [error] = await failed;
console.log(`cancel=${error.code}`);
await sleep(300); // the reset is to leave before the process does
process.exit(0);
