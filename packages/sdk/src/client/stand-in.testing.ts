import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from './connection.ts';

/** What a stand-in was asked. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

/** A daemon that answers as a test says. */
export interface StandIn extends AsyncDisposable {
  readonly socket: string;
  readonly connection: Connection;
  /** The requests whose bodies have come. */
  readonly asked: readonly Asked[];
}

/** How a test answers. The body is there unless the answer is to come before it has been read. */
export type Answer = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

/** Starts a stand-in. @param early whether to answer without reading bodies */
export async function startStandIn(answer: Answer, early = false): Promise<StandIn> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-sdk-'));
  const socket = join(directory, 'socket');
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const { method = '', url = '' } = request;
    const chunks: Buffer[] = [];
    const serve = (): void => {
      const one = { method, url, body: Buffer.concat(chunks).toString() };
      asked.push(one);
      answer(one, response, request);
    };
    if (early) serve();
    else request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', serve);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const connection = new Connection({ socket });
  return {
    socket,
    connection,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Answers with JSON. */
export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Answers with a problem. */
export function sendProblem(response: ServerResponse, code: string, detail: string, status = 409): void {
  const problem = { type: 'about:blank', title: 'x', status, code, detail };
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
}

/** An event of a stream. */
export function eventText(data: { readonly type: string }, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** A sandbox as the daemon shows it. */
export const SANDBOX = {
  id: 'abc', name: 'worker', state: 'running', reason: null, image: 'host', runtime: 'runc', createdAt: '2026-01-01T00:00:00.000Z',
  startedAt: null, stoppedAt: null, env: {}, secrets: [], workspace: null, volumes: [], workdir: null,
  limits: { memoryBytes: null, cpus: null, pids: 4096 }, labels: {}, autoRemove: false, lifetimeMs: null, auditFile: '/a', notices: [],
  runningExecs: 0, gate: 'open',
} as const; // prettier-ignore
