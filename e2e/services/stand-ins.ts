import type { IncomingMessage, ServerResponse } from 'node:http';
import { serveGit } from '../harness/git-backend.ts';
import type { GitRepository } from '../harness/git-backend.ts';
import { startUpstream } from '../harness/upstream.ts';
import type { Upstream } from '../harness/upstream.ts';
import type { RecordedRequest } from '../harness/recording.ts';

/** How a vendor wants to be asked. */
interface Vendor {
  readonly service: string;
  readonly places: Places;
  /** Where the credential stands, and with what around it; nothing else that could be a credential may come along. */
  readonly expects: (value: string, recorded: RecordedRequest) => readonly string[];
  /** Answers a request that carried the right credential; false for a path that the vendor does not have. */
  readonly serve: (context: Context) => boolean | Promise<boolean>;
}

interface Context {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly recorded: RecordedRequest;
  readonly url: URL;
  readonly value: string;
  readonly streams: Streams;
  readonly repository: GitRepository | undefined;
}

/** Where a vendor takes a credential, lower case with `-`. A foreign one is enough for a 401, wherever it is. */
interface Places {
  readonly fields: readonly string[];
  readonly parameters: readonly string[];
}

const MODEL_API: Places = {
  fields: ['api-key', 'authorization', 'cookie', 'x-api-key', 'x-auth-token', 'x-goog-api-key'],
  parameters: ['access_token', 'api_key', 'key'],
};
const GOOGLE: Places = {
  fields: MODEL_API.fields,
  parameters: ['$httpHeaders', '$key', 'access_token', 'key', 'oauth_token'],
};
const GITHUB: Places = {
  fields: ['authorization', 'cookie'],
  parameters: ['access_token', 'client_secret'],
};
const GITLAB: Places = {
  fields: ['authorization', 'cookie', 'deploy-token', 'job-token', 'private-token'],
  parameters: ['access_token', 'job_token', 'private_token'],
};
const HUGGING_FACE: Places = { fields: ['authorization', 'cookie'], parameters: ['token'] };
const NPM: Places = { fields: ['authorization', 'cookie'], parameters: ['_authToken', 'token'] };
const PYPI: Places = { fields: ['authorization', 'cookie'], parameters: [] };

/** How long a stream waits until the client has shown that it has seen its beginning. */
const SEEN_WITHIN_MS = 15_000;

/** Streams whose rest waits. */
class Streams {
  #release = (): void => undefined;

  /** Resolves to whether {@link release} was called in time. */
  wait(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), SEEN_WITHIN_MS);
      this.#release = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  release(): void {
    this.#release();
  }
}

/** All that a request says of who asks, as `PLACE: VALUE`, sorted. */
export function credentialsOf({ rawHeaders, target }: RecordedRequest, places: Places = MODEL_API): string[] {
  const fields = rawHeaders.flatMap(([name, value]) => {
    // Gateways to CGI and WSGI take one for the other.
    const field = name.toLowerCase().replaceAll('_', '-');
    return places.fields.includes(field) ? [`${field}: ${value}`] : [];
  });
  // Some servers take a semicolon for an ampersand.
  const query = new URLSearchParams(target.split('?').slice(1).join('?').replaceAll(';', '&'));
  const parameters = [...query].flatMap(([name, value]) =>
    places.parameters.includes(name) ? [`?${name}: ${value}`] : [],
  );
  return [...fields, ...parameters].toSorted();
}

const basic = (user: string, value: string): string =>
  `authorization: Basic ${Buffer.from(`${user}:${value}`).toString('base64')}`;

function sendJson({ response }: Context, body: unknown, headers: Readonly<Record<string, string>> = {}): true {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  return true;
}

const said = (value: string): string => `before ${value} after`;

/** Sends events of which the first holds `before `, the second the credential, cut in its middle, and the third ` after`. */
async function sendEvents(
  { response, value, streams }: Context,
  format: (text: string) => string,
  around: { readonly first?: string; readonly last?: string } = {},
): Promise<true> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.write(`${around.first ?? ''}${format('before ')}`);
  if (!(await streams.wait())) {
    response.destroy();
    return true;
  }
  const event = format(value);
  const middle = event.indexOf(value) + 9;
  response.write(event.slice(0, middle));
  await new Promise((resolve) => setTimeout(resolve, 20));
  response.write(event.slice(middle));
  response.end(`${format(' after')}${around.last ?? ''}`);
  return true;
}

const event = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

function serveOpenAi(context: Context): boolean | Promise<boolean> {
  const { url, recorded, streams, value } = context;
  const path = url.pathname.replace(/^(?:\/v1beta\/openai|(?:\/openai|\/api)?\/v1)(?=\/)/, '');
  const streaming = /"stream"\s*:\s*true/.test(recorded.body.toString());
  const answer = { id: 'c1', created: 1, model: 'gpt-test' };
  switch (path) {
    case '/models':
      streams.release();
      return sendJson(context, {
        object: 'list',
        data: ['one', 'two'].map((id) => ({ id, object: 'model', created: 1, owned_by: 'test' })),
      });
    case '/chat/completions': {
      if (!streaming) {
        const message = { role: 'assistant', content: said(value) };
        const choices = [{ index: 0, message, finish_reason: 'stop' }];
        return sendJson(context, { ...answer, object: 'chat.completion', choices });
      }
      const chunk = (content: string): string =>
        `data: ${JSON.stringify({ ...answer, object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`;
      return sendEvents(context, chunk, { last: 'data: [DONE]\n\n' });
    }
    case '/responses': {
      const type = 'response.output_text.delta';
      let sequence = 0;
      return sendEvents(context, (delta) =>
        event(type, { type, item_id: 'i', output_index: 0, content_index: 0, delta, sequence_number: sequence++ }),
      );
    }
    default:
      return false;
  }
}

function serveAnthropic(context: Context): boolean | Promise<boolean> {
  const { url, recorded, streams, value } = context;
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-test', stop_sequence: null, usage };
  switch (url.pathname) {
    case '/v1/models': {
      streams.release();
      const data = ['one', 'two'].map((id) => ({
        id,
        type: 'model',
        display_name: id,
        created_at: '2026-01-01T00:00:00Z',
      }));
      return sendJson(context, { data, has_more: false, first_id: 'one', last_id: 'two' });
    }
    case '/v1/messages': {
      if (!/"stream"\s*:\s*true/.test(recorded.body.toString())) {
        return sendJson(context, {
          ...message,
          content: [{ type: 'text', text: said(value) }],
          stop_reason: 'end_turn',
        });
      }
      const first =
        event('message_start', { type: 'message_start', message: { ...message, content: [], stop_reason: null } }) +
        event('content_block_start', {
          type: 'content_block_start',
          index: 0,
          content_block: { type: 'text', text: '' },
        });
      const last =
        event('content_block_stop', { type: 'content_block_stop', index: 0 }) +
        event('message_delta', {
          type: 'message_delta',
          delta: { stop_reason: 'end_turn', stop_sequence: null },
          usage: { output_tokens: 3 },
        }) +
        event('message_stop', { type: 'message_stop' });
      const format = (text: string): string =>
        event('content_block_delta', {
          type: 'content_block_delta',
          index: 0,
          delta: { type: 'text_delta', text },
        });
      return sendEvents(context, format, { first, last });
    }
    default:
      return false;
  }
}

/** The part of Gemini's API that speaks OpenAI's language. */
const GOOGLE_COMPATIBLE = '/v1beta/openai/';

function serveGoogle(context: Context): boolean | Promise<boolean> {
  const { url, streams, value } = context;
  if (url.pathname.startsWith(GOOGLE_COMPATIBLE)) return serveOpenAi(context);
  const answer = (text: string): unknown => ({
    candidates: [{ index: 0, content: { role: 'model', parts: [{ text }] } }],
  });
  switch (url.pathname) {
    case '/v1beta/models':
      streams.release();
      return sendJson(context, { models: [{ name: 'models/one' }, { name: 'models/two' }] });
    case '/v1beta/models/gemini-test:generateContent':
      return sendJson(context, answer(said(value)));
    case '/v1beta/models/gemini-test:streamGenerateContent':
      return sendEvents(context, (text) => `data: ${JSON.stringify(answer(text))}\r\n\r\n`);
    default:
      return false;
  }
}

function serveGithub(context: Context): boolean {
  const { url, response, value } = context;
  switch (`${url.host} ${url.pathname}`) {
    case 'api.github.com /user':
      return sendJson(context, { login: 'someone', id: 1, bio: said(value) });
    case 'api.github.com /repos/o/r/issues': {
      const isLast = url.searchParams.get('page') === '2';
      const link = '<https://api.github.com/repos/o/r/issues?per_page=1&page=2>; rel="next"';
      return sendJson(context, [{ number: 1, title: isLast ? 'second' : 'first' }], isLast ? {} : { link });
    }
    case 'api.github.com /graphql':
      return sendJson(context, { data: { viewer: { login: 'someone' } } });
    case 'uploads.github.com /repos/o/r/releases/1/assets':
      response.writeHead(201, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ id: 1, name: url.searchParams.get('name') }));
      return true;
    default:
      return false;
  }
}

/** A repository for who has the right credential, on a host of nothing else or beside an API. */
function serveRepository({ request, response, recorded, repository }: Context): boolean {
  if (repository === undefined) return false;
  serveGit(request, response, recorded.body, repository);
  return true;
}

const isGit = ({ target }: RecordedRequest): boolean => /\.git\/(?:info\/|git-)/.test(target);

/** An API that says who asks. */
function serveSubject(path: string): Vendor['serve'] {
  return (context) =>
    isGit(context.recorded)
      ? serveRepository(context)
      : context.url.pathname === path && sendJson(context, { name: said(context.value) });
}

function bearer(service: string, places: Places, serve: Vendor['serve']): Vendor {
  return { service, places, expects: (value) => [`authorization: Bearer ${value}`], serve };
}

function withGit(service: string, places: Places, user: string, path: string): Vendor {
  const expects: Vendor['expects'] = (value, recorded) => [
    isGit(recorded) ? basic(user, value) : `authorization: Bearer ${value}`,
  ];
  return { service, places, expects, serve: serveSubject(path) };
}

function serveNpm(context: Context): boolean {
  const { request, response, url, value } = context;
  if (url.pathname === '/-/whoami') return sendJson(context, { username: said(value) });
  if (url.pathname !== '/thing') return false;
  if (request.method === 'PUT') return sendJson(context, { ok: true });
  response.writeHead(404, { 'content-type': 'application/json' }).end('{}');
  return true;
}

function servePypi({ response, value }: Context): boolean {
  response.writeHead(200, { 'content-type': 'text/plain' }).end(said(value));
  return true;
}

/** The stand-ins, by host. */
const VENDORS: Readonly<Record<string, Vendor>> = {
  'api.anthropic.com': {
    service: 'anthropic',
    places: MODEL_API,
    expects: (value) => [`x-api-key: ${value}`],
    serve: serveAnthropic,
  },
  'api.openai.com': bearer('openai', MODEL_API, serveOpenAi),
  'api.groq.com': bearer('groq', MODEL_API, serveOpenAi),
  'api.mistral.ai': bearer('mistral', MODEL_API, serveOpenAi),
  'api.tokenfactory.nebius.com': bearer('nebius', MODEL_API, serveOpenAi),
  'api.studio.nebius.ai': bearer('nebius', MODEL_API, serveOpenAi),
  'api.x.ai': bearer('xai', MODEL_API, serveOpenAi),
  'openrouter.ai': bearer('openrouter', MODEL_API, serveOpenAi),
  'api.cursor.com': bearer('cursor', MODEL_API, serveSubject('/v1/me')),
  'generativelanguage.googleapis.com': {
    service: 'google',
    places: GOOGLE,
    expects: (value, { target }) => {
      const { pathname, searchParams } = new URL(target, 'https://stand-in');
      if (pathname.startsWith(GOOGLE_COMPATIBLE)) return [`authorization: Bearer ${value}`];
      // The parameter is written as often as the client sent it.
      return [...searchParams.getAll('key').map(() => `?key: ${value}`), `x-goog-api-key: ${value}`];
    },
    serve: serveGoogle,
  },
  'api.github.com': bearer('github', GITHUB, serveGithub),
  'uploads.github.com': bearer('github', GITHUB, serveGithub),
  'github.com': {
    service: 'github',
    places: GITHUB,
    expects: (value) => [basic('x-access-token', value)],
    serve: serveRepository,
  },
  'gitlab.com': withGit('gitlab', GITLAB, 'oauth2', '/api/v4/user'),
  'huggingface.co': withGit('huggingface', HUGGING_FACE, 'hf_user', '/api/whoami-v2'),
  'registry.npmjs.org': bearer('npm', NPM, serveNpm),
  'upload.pypi.org': {
    service: 'pypi',
    places: PYPI,
    expects: (value) => [basic('__token__', value)],
    serve: servePypi,
  },
};

/** The hosts that there are stand-ins of. */
export const STAND_IN_HOSTS: readonly string[] = Object.keys(VENDORS);

/** What the stand-ins saw. */
export interface StandIns {
  readonly upstream: Upstream;
  /** Requests that got 401, as `HOST METHOD TARGET`. */
  readonly refused: readonly string[];
  [Symbol.asyncDispose](): Promise<void>;
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/**
 * Starts stand-ins of every vendor. Each answers as its vendor does whom it knows by the real value of its service, and nobody else:
 * without it, with another one, or with a further credential of whatever kind, a request gets 401.
 */
export async function startStandIns(
  values: Readonly<Record<string, string>>,
  repositories: readonly GitRepository[] = [],
): Promise<StandIns> {
  const refused: string[] = [];
  const streams = new Streams();
  const upstream = await startUpstream({
    names: [...STAND_IN_HOSTS, 'elsewhere.test.example'],
    http2: true,
    handler: async (request, response, recorded) => {
      const host = String(request.headers[':authority'] ?? request.headers.host);
      const vendor = VENDORS[host];
      if (vendor === undefined) return false;
      recorded.body = await readBody(request);
      const value = values[vendor.service];
      const found = credentialsOf(recorded, vendor.places);
      if (value === undefined || found.join('\n') !== vendor.expects(value, recorded).join('\n')) {
        refused.push(`${host} ${recorded.method} ${recorded.target}`);
        const headers = { 'content-type': 'application/json', 'www-authenticate': 'Basic realm="stand-in"' };
        response.writeHead(401, headers).end('{"error":{"message":"stand-in: who are you?"}}');
        return true;
      }
      const url = new URL(recorded.target, `https://${host}`);
      const repository = repositories.find(({ path }) => url.pathname.startsWith(`${path}/`));
      const context: Context = { request, response, recorded, url, value, streams, repository };
      if (!(await vendor.serve(context))) response.writeHead(404).end('{"error":{"message":"stand-in: not found"}}');
      return true;
    },
  });
  return { upstream, refused, [Symbol.asyncDispose]: () => upstream.close() };
}
