import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { SallyportError } from '@sallyport/sdk';
import { createValueSource } from './value-source.ts';

/** A value that may turn up nowhere. */
export const CANARY = 'canary-7f3a91c2e5d84b06';
/** A credential by which a source is asked; it may turn up nowhere else either. */
export const ACCESS_CANARY = 'access-d01f5a77b3c94e28';

export interface SourceSettings {
  readonly environment?: NodeJS.ProcessEnv;
  readonly directory?: string;
  readonly showError?: boolean;
  readonly timeLimitMs?: number;
  readonly signal?: AbortSignal;
}

/** What a reference gives, as text. */
export async function fetchText(
  reference: string,
  { signal = new AbortController().signal, environment = {}, directory = '/', ...rest }: SourceSettings = {},
): Promise<string> {
  const source = createValueSource({ kind: 'reference', reference }, { environment, directory, ...rest });
  return Buffer.from(await source.fetch(signal)).toString('utf8');
}

/** The message of the failure that comes of it, which holds neither canary, and nor do its causes. */
export async function failureOf(fetching: Promise<unknown>): Promise<string> {
  const error: unknown = await fetching.then(
    () => assert.fail('there was a value'),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof SallyportError, inspect(error));
  assert.equal(error.code, 'SOURCE_FAILED');
  const shown = inspect(error, { depth: 12, showHidden: true });
  assert.ok(!shown.includes(CANARY), `the failure holds the value: ${shown}`);
  assert.ok(!shown.includes(ACCESS_CANARY), `the failure holds what the source is asked with: ${shown}`);
  return error.message;
}

/** A server of this machine that keeps every request. */
export interface StandIn {
  readonly url: string;
  readonly requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[];
  close(): void;
}

export type Answer = { status: number; headers?: Record<string, string>; body?: string | object } | 'silence';

/** Starts a server; with `tls` it speaks TLS. */
export async function startStandIn(
  answer: (request: StandIn['requests'][number]) => Answer,
  tls?: { key: string; cert: string },
): Promise<StandIn> {
  const requests: StandIn['requests'] = [];
  const serve = (message: IncomingMessage, response: ServerResponse): void => {
    let body = '';
    message.on('data', (chunk: Buffer) => (body += chunk.toString()));
    message.on('end', () => {
      const request = { method: message.method ?? '', url: message.url ?? '', headers: message.headers, body };
      requests.push(request);
      const said = answer(request);
      if (said === 'silence') return;
      response.writeHead(said.status, said.headers);
      response.end(typeof said.body === 'object' ? JSON.stringify(said.body) : said.body);
    });
  };
  const server: Server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
