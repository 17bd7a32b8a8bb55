// What a program does with the SDK, in any runtime: it prints what it got as one line of JSON. Arguments: the host to read, and for the network
// `HOST:PORT=ADDRESS:PORT` and a file of roots. The secret is in SDK_SECRET, the daemon at SALLYPORT_SOCKET.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { Sandbox, Secret } from '@sallyport/sdk/client';

const [host = '', pin = '', upstreamCa = ''] = process.argv.slice(2);
const [from = '', to = ''] = pin.split('=');
const text = (bytes) => new TextDecoder().decode(bytes);
const codeOf = async (promise) => await promise.then(() => 'none', (error) => error.code); // prettier-ignore

const sandbox = await Sandbox.create({
  secrets: [Secret.env('TOKEN', { value: process.env.SDK_SECRET, allowHosts: [host] })],
  network: { resolve: { [from]: to }, upstreamCa },
});
const seen = {};
try {
  const read = await sandbox.shell(
    `curl -sS -m 20 -H "Authorization: Bearer $TOKEN" "https://${host}/reflect?as=raw&where=body"; echo " $TOKEN"`,
  );
  seen.placeholders = read.stdout.match(/sp_TOKEN_[0-9A-Za-z]{22}/g)?.length;
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 7) & 0xff);
  const same = (other) => other.length === bytes.length && other.every((byte, index) => byte === bytes[index]);
  seen.stdin = same((await sandbox.exec('cat', [], { stdin: bytes })).stdoutBytes);
  await sandbox.fs.write('/tmp/file', (async function* () { yield bytes; })()); // prettier-ignore
  seen.file = same(await sandbox.fs.read('/tmp/file'));
  const events = [];
  const stream = sandbox.execStream('sh', ['-c', 'read line; echo "got $line"; exec sleep 600'], { stdin: true });
  for await (const event of stream) {
    events.push(event.data === undefined ? event.type : `${event.type} ${text(event.data)}`);
    if (event.type === 'started') await stream.stdin.write('it\n');
    if (event.type === 'stdout') await stream.kill();
  }
  seen.events = events;
  const abort = new AbortController();
  const slow = sandbox.exec('sleep', ['600'], { signal: abort.signal });
  setTimeout(() => abort.abort(), 300);
  seen.aborted = await codeOf(slow);
  seen.late = await codeOf(sandbox.waitUntilStopped({ timeoutMs: 200 }));
  seen.missing = await codeOf(sandbox.fs.read('/none'));
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-sdk-program-'));
  try {
    await sandbox.shell('mkdir -p /tmp/tree/d && echo in > /tmp/tree/d/f');
    await sandbox.fs.copyOut('/tmp/tree', join(directory, 'tree'));
    seen.copied = readFileSync(join(directory, 'tree/d/f'), 'utf8');
    await sandbox.fs.copyIn(join(directory, 'tree'), '/tmp/again');
    seen.beside = readdirSync(directory);
    seen.again = (await sandbox.exec('cat', ['/tmp/again/d/f'])).stdout;
  } finally {
    rmSync(directory, { recursive: true });
  }
  const logged = [];
  for await (const { data, stream: name } of sandbox.logs({ tail: 1 })) logged.push(name, text(data));
  seen.logs = logged;
} finally {
  await sandbox[Symbol.asyncDispose]();
}
seen.left = (await Sandbox.list()).length;
console.log(JSON.stringify(seen));
