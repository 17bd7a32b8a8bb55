import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { createGitRepository } from '../harness/git-backend.ts';
import { headerValues } from '../harness/recording.ts';
import type { RecordedRequest } from '../harness/recording.ts';
import { startUpstream } from '../harness/upstream.ts';
import type { Upstream } from '../harness/upstream.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { CACHE } from '../harness/client-cache.ts';

/** The upstream's names; gh knows no other host for github.com. */
export const HOST = 'api.test.example';
export const GITHUB_HOST = 'api.github.com';

/** How long a stream waits for the client to have seen its first piece. */
const ACKNOWLEDGED_WITHIN_MS = 15_000;

/** What the registries serve: one package, `thing` 1.0.0. */
interface Packages {
  readonly wheel: Buffer;
  readonly moduleZip: Buffer;
  readonly crate: Buffer;
}

const MAKE_PACKAGES = `
import io, sys, tarfile, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(folder + "/wheel", "w") as wheel:
    wheel.writestr("thing.py", "x = 1\\n")
    wheel.writestr("thing-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0.0\\n")
    wheel.writestr("thing-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("thing-1.0.0.dist-info/RECORD", "thing.py,,\\nthing-1.0.0.dist-info/METADATA,,\\nthing-1.0.0.dist-info/WHEEL,,\\nthing-1.0.0.dist-info/RECORD,,\\n")
with zipfile.ZipFile(folder + "/module", "w") as module:
    module.writestr("thing.example/thing@v1.0.0/go.mod", "module thing.example/thing\\n")
    module.writestr("thing.example/thing@v1.0.0/thing.go", "package thing\\n")
with tarfile.open(folder + "/crate", "w:gz") as crate:
    for name, text in (("Cargo.toml", '[package]\\nname = "thing"\\nversion = "1.0.0"\\nedition = "2021"\\n'), ("src/lib.rs", "")):
        entry = tarfile.TarInfo("thing-1.0.0/" + name)
        entry.size = len(text)
        crate.addfile(entry, io.BytesIO(text.encode()))
`;

function makePackages(): Packages {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-packages-'));
  try {
    execFileSync('python3', ['-c', MAKE_PACKAGES, folder]);
    const [wheel, moduleZip, crate] = ['wheel', 'module', 'crate'].map((name) => readFileSync(join(folder, name)));
    return { wheel: wheel!, moduleZip: moduleZip!, crate: crate! };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** cargo sends its token as the whole header. */
function credentialOf(recorded: RecordedRequest): string {
  const whole = headerValues(recorded, 'authorization')[0] ?? '';
  return receivedCredential(recorded) || whole;
}

/** A page that does what the other clients do. The picture holds back its `load` event, at which the browser prints it. */
const PAGE = `<!doctype html><title>page</title><pre id="out"></pre><img src="/held"><script>
(async () => {
  const out = document.getElementById('out');
  const headers = { authorization: 'Bearer ' + location.hash.slice(1) };
  const answer = await fetch('/reflect?as=raw&where=both', { headers });
  const body = await answer.text();
  const [entry] = performance.getEntriesByType('resource');
  out.textContent += answer.status + ' ' + entry.nextHopProtocol + ' ' + answer.headers.get('x-reflected') + '\\n' + body;
  const stream = (await fetch('/stream', { headers })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (let acknowledged = false; ; ) {
    const { done, value } = await stream.read();
    if (done) break;
    text += value;
    if (!acknowledged && text.includes('\\n')) {
      acknowledged = true;
      await fetch('/ack');
    }
  }
  out.textContent += '@@stream\\n' + text;
  await fetch('/release');
})();
</script>`;

/** Serves what package managers and the streaming check ask for; returns false for every other path. */
function createHandler(packages: Packages) {
  let acknowledge = (): void => undefined;
  let release = (): void => undefined;
  /** Waits for the client's word; false when it does not come in time. */
  const wait = (keep: (done: () => void) => void): Promise<boolean> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ACKNOWLEDGED_WITHIN_MS);
      keep(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  const serve = async (
    _request: IncomingMessage,
    response: ServerResponse,
    recorded: RecordedRequest,
  ): Promise<boolean> => {
    const credential = credentialOf(recorded);
    const { pathname } = new URL(recorded.target, 'http://upstream');
    const send = (type: string, body: string | Buffer, status = 200): true => {
      const bytes = Buffer.from(body);
      response.writeHead(status, { 'content-type': type, 'content-length': bytes.length }).end(bytes);
      return true;
    };
    const json = (value: unknown): true => send('application/json', JSON.stringify(value));
    const said = `before ${credential} after`;
    switch (pathname) {
      case '/stream': {
        const acknowledged = wait((done) => (acknowledge = done));
        response.writeHead(200, { 'content-type': 'text/plain' });
        response.write(`piece 1 ${credential}\n`);
        response.end((await acknowledged) ? 'piece 2\n' : 'the first piece did not arrive\n');
        return true;
      }
      case '/ack':
        acknowledge();
        return send('text/plain', 'thanks\n');
      case '/held':
        await wait((done) => (release = done));
        return send('text/plain', '');
      case '/release':
        release();
        return send('text/plain', '');
      case '/page':
        return send('text/html', PAGE);
      case '/npm/thing':
        return json({
          name: 'thing',
          description: said,
          'dist-tags': { latest: '1.0.0' },
          versions: { '1.0.0': { name: 'thing', version: '1.0.0', description: said, dist: {} } },
        });
      case '/simple/thing/':
        // pip prints why a file was withdrawn.
        return send(
          'text/html',
          `<!doctype html><a href="/files/thing-1.0.0-py3-none-any.whl" data-yanked="${said}">thing-1.0.0-py3-none-any.whl</a>`,
        );
      case '/files/thing-1.0.0-py3-none-any.whl':
        return send('application/octet-stream', packages.wheel);
      case '/go/thing.example/thing/@v/v1.0.0.info':
        return json({ Version: 'v1.0.0', Time: '2026-01-01T00:00:00Z' });
      case '/go/thing.example/thing/@v/v1.0.0.mod':
        return send('text/plain', 'module thing.example/thing\n');
      case '/go/thing.example/thing/@v/v1.0.0.zip':
        return send('application/zip', packages.moduleZip);
      case '/cargo/config.json':
        if (credential === '') {
          response.writeHead(401, { 'www-authenticate': `Cargo login_url="https://${HOST}/me"` }).end();
          return true;
        }
        return json({
          dl: `https://${HOST}/crates/{crate}-{version}.crate`,
          api: `https://${HOST}`,
          'auth-required': true,
        });
      case '/cargo/th/in/thing':
        return json({
          name: 'thing',
          vers: '1.0.0',
          deps: [],
          cksum: createHash('sha256').update(packages.crate).digest('hex'),
          features: {},
          yanked: false,
        });
      case '/crates/thing-1.0.0.crate':
        return send('application/octet-stream', packages.crate);
      case '/api/v1/crates':
        return json({ crates: [{ name: 'thing', max_version: '1.0.0', description: said }], meta: { total: 1 } });
      default:
        if (pathname.startsWith('/go/')) return send('text/plain; charset=utf-8', `${said}\n`, 404);
        if (pathname.startsWith('/refuse/')) {
          if (credential === '') response.writeHead(401, { 'www-authenticate': 'Basic' }).end();
          else send('text/plain', `${said}\n`, 403);
          return true;
        }
        return false;
    }
  };
  return serve;
}

interface WebSocket extends NodeJS.EventEmitter {
  send(data: string | Buffer, options: { readonly binary: boolean }): void;
}
interface WebSocketLibrary {
  readonly WebSocketServer: new (options: object) => {
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (socket: WebSocket) => void): void;
  };
}

/** An upstream on HTTP/1.1 and HTTP/2 with everything that the clients of the table ask for. */
export interface ClientsUpstream extends AsyncDisposable {
  readonly upstream: Upstream;
  /** Messages that the WebSocket server got. */
  readonly messages: readonly string[];
  /** Path of a git repository. */
  readonly repositoryPath: string;
}

/** Starts it. The git repository's password is `credential`. */
export async function startClientsUpstream(credential: string): Promise<ClientsUpstream> {
  const repository = createGitRepository({ user: 'someone', password: credential });
  const messages: string[] = [];
  let webSockets: InstanceType<WebSocketLibrary['WebSocketServer']> | undefined;
  const upstream = await startUpstream({
    names: [HOST, GITHUB_HOST],
    http2: true,
    git: repository,
    handler: createHandler(makePackages()),
    upgrade: (request, socket, head, recorded) => {
      const { WebSocketServer } = createRequire(join(CACHE, 'npm', 'package.json'))('ws') as WebSocketLibrary;
      webSockets ??= new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        webSocket.on('error', () => undefined);
        webSocket.send(`before ${credentialOf(recorded)} after`, { binary: false });
        webSocket.on('message', (data: Buffer, binary: boolean) => {
          if (!binary) messages.push(data.toString());
          webSocket.send(data, { binary });
        });
      });
      return true;
    },
  });
  return {
    upstream,
    messages,
    repositoryPath: repository.path,
    [Symbol.asyncDispose]: async () => {
      await upstream.close();
      repository[Symbol.dispose]();
    },
  };
}
