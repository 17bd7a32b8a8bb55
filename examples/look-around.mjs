// What a hostile program finds. It needs no credential to be tried, but is more fun with one:
//
//   API_KEY=correct-horse-battery sallyport run --secret API_KEY@api.example.com -- node examples/look-around.mjs
//
// Nothing that it prints is the value of API_KEY, and no connection that it tries is made.
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';

const TIMEOUT_MS = 2000;

function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    return `(${error.code})`;
  }
}

function list(path) {
  try {
    return readdirSync(path).join(' ') || '(empty)';
  } catch (error) {
    return `(${error.code})`;
  }
}

/** Tries a TCP connection and tells how it ended. */
function tryConnection(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (ending) => {
      socket.destroy();
      resolve(`${host}:${port} ${ending}`);
    };
    socket.setTimeout(TIMEOUT_MS, () => finish('no answer'));
    socket.once('error', (error) => finish(error.code));
    socket.once('connect', () => finish('connected (to the gate, which denies by default)'));
  });
}

console.log('environment:', process.env);
const processes = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
for (const pid of processes) console.log(`process ${pid}:`, read(`/proc/${pid}/cmdline`).replaceAll('\0', ' '));
for (const path of ['/root', '/home', '/run', process.env.HOME ?? '/']) console.log(`${path}:`, list(path));
const attempts = [
  ['127.0.0.1', 22],
  ['169.254.169.254', 80],
  ['1.1.1.1', 53],
  ['10.0.2.1', 8080],
  ['2606:4700:4700::1111', 443],
];
for (const [host, port] of attempts) console.log(await tryConnection(host, port));
