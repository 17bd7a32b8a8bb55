import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A bare repository served by smart HTTP, for those who know the password. */
export interface GitRepository {
  /** Folder that holds it. */
  readonly root: string;
  /** Path of its URL. */
  readonly path: string;
  readonly user: string;
  readonly password: string;
  /** Runs git in the bare repository and returns its standard output. */
  git(...args: string[]): string;
  [Symbol.dispose](): void;
}

const DEFAULT_PATH = '/git/repository.git';
const IDENTITY = {
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@test.example',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@test.example',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
};

/** Makes a bare repository with one commit on `main` (a file `hello.txt`) that accepts pushes. */
export function createGitRepository(options: {
  readonly user: string;
  readonly password: string;
  /** Path of its URL. Default `/git/repository.git`. */
  readonly path?: string;
}): GitRepository {
  const path = options.path ?? DEFAULT_PATH;
  const root = mkdtempSync(join(tmpdir(), 'sallyport-git-'));
  const env = { PATH: process.env['PATH'], HOME: root, ...IDENTITY };
  const bare = join(root, path);
  const work = join(root, 'seed');
  const git = (cwd: string, ...args: string[]): string =>
    execFileSync('git', args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  git(root, 'init', '--quiet', '--bare', '--initial-branch=main', bare);
  git(bare, 'config', 'http.receivepack', 'true');
  git(root, 'init', '--quiet', '--initial-branch=main', work);
  writeFileSync(join(work, 'hello.txt'), 'hello from upstream\n');
  git(work, 'add', '.');
  git(work, 'commit', '--quiet', '-m', 'First');
  git(work, 'push', '--quiet', bare, 'main');
  return {
    root,
    path,
    user: options.user,
    password: options.password,
    git: (...args) => git(bare, ...args),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Answers one request for the repository by `git http-backend` (CGI, RFC 3875), or `401` without the right Basic credential. */
export function serveGit(
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
  repository: GitRepository,
): void {
  const expected = `Basic ${Buffer.from(`${repository.user}:${repository.password}`).toString('base64')}`;
  if (request.headers.authorization !== expected) {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"', 'content-type': 'text/plain' });
    response.end('authentication is needed\n');
    return;
  }
  const url = new URL(request.url ?? '/', 'http://upstream');
  const backend = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'],
      ...IDENTITY,
      GIT_PROJECT_ROOT: repository.root,
      GIT_HTTP_EXPORT_ALL: '1',
      REMOTE_USER: repository.user,
      REMOTE_ADDR: '127.0.0.1',
      REQUEST_METHOD: request.method ?? 'GET',
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      CONTENT_LENGTH: String(body.length),
      ...(request.headers['content-encoding'] === undefined
        ? {}
        : { HTTP_CONTENT_ENCODING: request.headers['content-encoding'] }),
      ...(request.headers['git-protocol'] === undefined
        ? {}
        : { GIT_PROTOCOL: String(request.headers['git-protocol']) }),
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const output: Buffer[] = [];
  backend.stdin.on('error', () => {});
  backend.stdin.end(body);
  backend.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  backend.once('error', () => response.destroy());
  backend.once('close', () => {
    const all = Buffer.concat(output);
    const end = all.indexOf('\r\n\r\n');
    if (end === -1) {
      response.writeHead(500).end('git http-backend gave no head\n');
      return;
    }
    let status = 200;
    for (const line of all.subarray(0, end).toString('latin1').split('\r\n')) {
      const colon = line.indexOf(':');
      const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.end(all.subarray(end + 4));
  });
}
