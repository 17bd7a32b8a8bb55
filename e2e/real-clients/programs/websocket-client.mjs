// `ws`: prints what the server says first, then the echoes of a text with the placeholder and of random-looking bytes.
import { once } from 'node:events';
import process from 'node:process';
import { WebSocket } from 'ws';

const token = process.env.API_TOKEN;
const socket = new WebSocket(process.argv[2], {
  headers: { authorization: `Bearer ${token}` },
  perMessageDeflate: true,
});
const received = [];
socket.on('message', (data) => received.push(data));
const next = async () => {
  while (received.length === 0) await once(socket, 'message');
  return received.shift();
};
await once(socket, 'open');
console.log(`deflate=${socket.extensions.includes('permessage-deflate')}`);
console.log(`first=${await next()}`);
socket.send(`text ${token}`);
console.log(`text=${await next()}`);
socket.send(`frag`, { fin: false });
socket.send(`ment ${token.slice(0, 5)}`, { fin: false });
socket.send(token.slice(5), { fin: true });
console.log(`fragments=${await next()}`);
socket.send(Buffer.alloc(300_000, 7));
console.log(`binary=${(await next()).length}`);
socket.close(1000, 'done');
const [code] = await once(socket, 'close');
console.log(`close=${code}`);
