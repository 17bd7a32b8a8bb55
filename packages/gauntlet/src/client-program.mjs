// The client half: does what an untrusted program in the sandbox could do, by order of the controller. It knows no attack and no value.
// One JSON object a line on standard input and output. Runs on Node 18 and newer, alone, as it is handed over as an argument.
import { lookup } from 'node:dns/promises';
import { readFileSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import tls from 'node:tls';

const [placeholderVariable = '', secondVariable = ''] = process.argv.slice(1);

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function dial(host, port, timeoutMs) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('timed out')));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

function askProxy(socket, target, timeoutMs) {
  const name = Buffer.from(target);
  const lines = [Buffer.from('CONNECT '), name, Buffer.from(' HTTP/1.1\r\nHost: '), name, Buffer.from('\r\n\r\n')];
  socket.write(Buffer.concat(lines));
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(new Error('timed out')), timeoutMs);
    const settle = (error) => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      if (error === undefined) resolve(head);
      else reject(error);
    };
    const onClose = () => settle(new Error('the proxy closed the connection'));
    const onData = (chunk) => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      if (!/^HTTP\/1\.[01] 2/.test(head.toString('latin1')))
        settle(new Error(`the proxy answered ${head.subarray(9, 12)}`));
      else settle();
    };
    socket
      .on('data', onData)
      .on('close', onClose)
      .on('error', () => {});
  });
}

function startTls(socket, { sni, alpn, verify, ca }, timeoutMs) {
  return new Promise((resolve, reject) => {
    const secure = tls.connect({
      socket,
      servername: sni ?? '',
      rejectUnauthorized: verify === true,
      ...(alpn === undefined ? {} : { ALPNProtocols: alpn }),
      ...(ca === undefined ? {} : { ca: [...tls.rootCertificates, ca] }),
    });
    const timer = setTimeout(() => secure.destroy(new Error('timed out')), timeoutMs);
    secure.once('error', reject);
    secure.once('close', () => reject(new Error('closed in the handshake')));
    secure.once('secureConnect', () => {
      clearTimeout(timer);
      secure.off('error', reject);
      resolve(secure);
    });
  });
}

async function sendAll(socket, steps) {
  for (const { data, delayMs = 0 } of steps) {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (socket.destroyed || socket.writableEnded) return;
    socket.write(Buffer.from(data, 'base64'));
  }
}

/** Sends the steps and gathers what comes, until the other side closes, falls silent, or the time is over. */
function converse(socket, job) {
  return new Promise((resolve) => {
    const chunks = [];
    let kept = 0;
    let receivedBytes = 0;
    let sent = false;
    let quietSince = Date.now();
    const startedAt = Date.now();
    let over = false;
    const finish = (end) => {
      if (over) return;
      over = true;
      clearInterval(timer);
      socket.destroy();
      resolve({ end, received: Buffer.concat(chunks).toString('base64'), receivedBytes });
    };
    const timer = setInterval(() => {
      const now = Date.now();
      const quietMs = receivedBytes === 0 ? job.firstByteMs : job.idleMs;
      if (now - startedAt > job.totalMs) finish('out of time');
      else if (sent && now - quietSince > quietMs) finish('silent');
    }, 20);
    socket.on('data', (chunk) => {
      quietSince = Date.now();
      receivedBytes += chunk.length;
      if (kept >= job.keepBytes) return;
      kept += chunk.length;
      chunks.push(chunk);
    });
    socket.on('error', (error) => finish(`error ${error.code ?? error.message}`));
    socket.on('end', () => finish('closed'));
    socket.on('close', () => finish('closed'));
    void sendAll(socket, job.send).then(() => {
      sent = true;
      quietSince = Date.now();
    });
  });
}

async function exchange(job) {
  let stage = 'dial';
  let socket;
  try {
    socket = await dial(job.host, job.port, job.firstByteMs);
    socket.on('error', () => {});
    if (job.proxyTarget !== undefined) {
      stage = 'proxy';
      await askProxy(socket, job.proxyTarget, job.firstByteMs);
    }
    if (job.tls !== undefined) {
      stage = 'tls';
      socket = await startTls(socket, job.tls, job.firstByteMs);
      socket.on('error', () => {});
    }
    stage = 'exchange';
    const alpn = socket.alpnProtocol === undefined ? null : socket.alpnProtocol || null;
    return { stage, alpn, ...(await converse(socket, job)) };
  } catch (error) {
    socket?.destroy();
    return { stage, alpn: null, end: `error ${error.code ?? error.message}`, received: '', receivedBytes: 0 };
  }
}

/** What a program finds by looking around: environments, command lines, and files with a name that invites. */
function look() {
  const places = [{ where: 'environment', data: Buffer.from(JSON.stringify(process.env)).toString('base64') }];
  const paths = ['/proc/self/mountinfo', '/proc/net/unix', '/etc/environment'];
  for (const entry of readdirSync('/proc')) {
    if (/^[0-9]+$/.test(entry)) paths.push(`/proc/${entry}/environ`, `/proc/${entry}/cmdline`);
  }
  for (const path of paths) {
    try {
      places.push({ where: path, data: readFileSync(path).toString('base64') });
    } catch {
      // Not to be read: that is what should be.
    }
  }
  return { places };
}

async function obey(job) {
  switch (job.kind) {
    case 'exchange':
      return exchange(job);
    case 'look':
      return look();
    case 'lookup':
      return { addresses: (await lookup(job.host, { all: true })).map(({ address }) => address) };
    default:
      throw new Error(`there is no job ${JSON.stringify(job.kind)}`);
  }
}

say({
  ready: true,
  node: process.versions.node,
  placeholder: process.env[placeholderVariable] ?? null,
  second: process.env[secondVariable] ?? null,
});
createInterface({ input: process.stdin }).on('line', (line) => {
  const job = JSON.parse(line);
  obey(job).then(
    (answer) => say({ id: job.id, ...answer }),
    (/** @type {unknown} */ error) =>
      say({ id: job.id, failure: error instanceof Error ? error.message : String(error) }),
  );
});
