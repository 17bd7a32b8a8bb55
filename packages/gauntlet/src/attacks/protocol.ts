import type { Attack } from '../attack.ts';
import { FOREIGN } from '../judge.ts';
import { decodeBody, fieldValues } from '../message-reader.ts';
import { createReply, credentialOf } from '../upstreams.ts';
import type { Reply, UpstreamRequest } from '../upstreams.ts';

const TO_SANDBOX = 'the value, to the program in the sandbox';

/** What a TRACE or debugging endpoint answers: the request itself. */
function echo(request: UpstreamRequest): Reply {
  const lines = request.fields.map(([name, value]) => `${name}: ${value}`);
  return createReply(
    '200 OK',
    ['Content-Type: message/http'],
    `${request.method} ${request.target}\r\n${lines.join('\r\n')}`,
  );
}

/** A server with one file: what was put there, in ranges where asked for. */
function createParkingPlace(): (request: UpstreamRequest) => Reply {
  let parked = '';
  return (request) => {
    const credential = credentialOf(request);
    if (request.method === 'PUT') {
      parked = credential;
      return createReply('204 No Content', []);
    }
    const [range] = fieldValues({ ...request, startLine: '' }, 'range');
    const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? '');
    if (match === null) return createReply('200 OK', ['Accept-Ranges: bytes'], parked);
    const [from = 0, to = 0] = match.slice(1).map(Number);
    const fields = [`Content-Range: bytes ${from}-${to}/${parked.length}`];
    return createReply('206 Partial Content', fields, parked.slice(from, to + 1));
  };
}

/** Attacks by what HTTP itself offers: methods, caches, redirects, ranges, pipelines. */
export const PROTOCOL_ATTACKS: readonly Attack[] = [
  {
    id: 'trace',
    title: 'TRACE, in several spellings, and Max-Forwards',
    category: 'protocol',
    reference: 'RFC 9110 section 9.3.8',
    leak: TO_SANDBOX,
    run: async (session) => {
      session.answer(echo);
      for (const method of ['TRACE', 'trace', 'Trace']) {
        await session.exchange({ to: 'bound', send: [session.request('/', { method })] });
        const lines = [`Host: ${session.target.bound}`, 'Max-Forwards: 0'];
        await session.exchange({ to: 'bound', send: [session.request('/', { method, lines })] });
      }
    },
  },
  {
    id: 'method-override',
    title: 'TRACE by X-HTTP-Method-Override',
    category: 'protocol',
    reference: 'RFC 9110 section 9.3.8',
    leak: TO_SANDBOX,
    needs: ['redaction'],
    run: async (session) => {
      session.answer(echo);
      const lines = [
        `Host: ${session.target.bound}`,
        'X-HTTP-Method-Override: TRACE',
        'X-HTTP-Method: TRACE',
        'X-Method-Override: TRACE',
      ];
      await session.exchange({ to: 'bound', send: [session.request('/', { method: 'POST', lines, body: '' })] });
    },
  },
  {
    id: 'cache-credential',
    title: 'A cacheable answer to a request with the value is not served to one without it',
    category: 'protocol',
    reference: 'RFC 9111 section 3.5',
    leak: 'what the credential gives access to',
    run: async (session) => {
      const cacheable = ['Cache-Control: public, max-age=600', 'ETag: "1"'];
      session.answer((request) =>
        createReply('200 OK', cacheable, credentialOf(request) === session.target.value ? 'private answer' : 'public'),
      );
      await session.exchange({ to: 'bound', send: [session.request('/cached')] });
      const bare = `GET /cached HTTP/1.1\r\nHost: ${session.target.bound}\r\nConnection: close\r\n\r\n`;
      const { responses } = await session.exchange({ to: 'bound', send: [bare] });
      if (responses.some((response) => decodeBody(response).includes('private answer'))) {
        session.find('an answer to a request with the value was served from a cache');
      }
    },
  },
  {
    id: 'cache-host',
    title: 'A cached answer of one host is not served for another',
    category: 'protocol',
    reference: 'RFC 9111 section 2',
    leak: 'an answer that the credential was needed for; a poisoned one in its place',
    run: async (session) => {
      const { bound, unbound } = session.target;
      session.answer(({ connection }) =>
        createReply('200 OK', ['Cache-Control: public, max-age=600'], connection.server),
      );
      await session.exchange({ to: 'bound', send: [session.request('/same')] });
      const { responses } = await session.exchange({
        to: 'unbound',
        send: [session.request('/same', { to: 'unbound' })],
      });
      if (
        responses.some(
          (response) => decodeBody(response).includes('bound-tls') && !decodeBody(response).includes('unbound-tls'),
        )
      ) {
        session.find('the unbound host’s client was served the bound host’s answer');
      }
      const poison = session.request('/poison', {
        to: 'unbound',
        lines: [`Host: ${unbound}`, `X-Forwarded-Host: ${bound}`],
      });
      await session.exchange({ to: 'unbound', send: [poison] });
      const after = await session.exchange({ to: 'bound', send: [session.request('/poison')] });
      if (after.responses.some((response) => decodeBody(response).includes('unbound-tls'))) {
        session.find('the bound host’s client was served the unbound host’s answer');
      }
    },
  },
  {
    id: 'request-splitting',
    title: 'Percent-encoded CRLF in path and query stays encoded',
    category: 'protocol',
    reference: 'CWE-113',
    leak: 'the value, in a request of the attacker’s making',
    run: async (session) => {
      for (const path of [
        '/%0d%0aX-Injected:%20y',
        '/?a=%0d%0a%0d%0aGET%20/x',
        '/%E5%98%8D%E5%98%8AX-Injected:y',
        '/a%00b',
      ]) {
        await session.exchange({ to: 'bound', send: [session.request(path)] });
      }
      if (session.requests.some(({ fields }) => fields.some(([name]) => name.toLowerCase() === 'x-injected'))) {
        session.find('a field out of the path arrived as a field of its own');
      }
    },
  },
  {
    id: 'response-splitting',
    title: 'CR, LF and NUL in an upstream’s field lines do not reach the client',
    category: 'protocol',
    reference: 'RFC 9110 section 5.5',
    leak: 'answers of the attacker’s making on other requests',
    run: async (session) => {
      for (const octets of ['\r', '\0', '\n\r']) {
        session.answer(() => ({
          pieces: [
            Buffer.from(`HTTP/1.1 200 OK\r\nX-A: b${octets}Set-Cookie: injected=1\r\nContent-Length: 1\r\n\r\nx`),
          ],
          close: true,
        }));
        const { received } = await session.exchange({ to: 'bound', send: [session.request('/')] });
        if (received.includes(`b${octets}Set-Cookie`))
          session.find(`${JSON.stringify(octets)} in a field line reached the client`);
      }
    },
  },
  {
    id: 'response-queue',
    title: 'A second answer that nobody asked for is not given to the next request',
    category: 'protocol',
    reference: 'RFC 9112 section 9.2',
    leak: 'one client’s answer, to another',
    run: async (session) => {
      const extra = `HTTP/1.1 200 OK\r\nContent-Length: ${FOREIGN.length}\r\n\r\n${FOREIGN}`;
      session.answer((request) =>
        request.target.includes('first')
          ? { pieces: [Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${extra}`)] }
          : undefined,
      );
      const first = session.request('/first', { keepAlive: true });
      await session.exchange({ to: 'bound', send: [first, { data: session.request('/second'), delayMs: 150 }] });
      await session.exchange({ to: 'bound', send: [session.request('/third')] });
    },
  },
  {
    id: 'redirect',
    title: 'A redirect to the unbound host, in every way, takes no value along',
    category: 'protocol',
    reference: 'RFC 9110 section 15.4',
    leak: 'the value, to a host of the attacker’s choice',
    run: async (session) => {
      const { unbound, bound } = session.target;
      for (const [status, location] of [
        ['302 Found', `https://${unbound}/`],
        ['307 Temporary Redirect', `http://${bound}/`],
        ['308 Permanent Redirect', `//${unbound}/`],
        ['301 Moved Permanently', `https://${bound}@${unbound}/`],
      ] as const) {
        session.answer((request) =>
          request.connection.server === 'bound-tls'
            ? createReply(status, [
                `Location: ${location}`,
                `Refresh: 0; url=${location}`,
                `Alt-Svc: h2="${unbound}:443"`,
              ])
            : undefined,
        );
        await session.exchange({ to: 'bound', send: [session.request('/go', { method: 'POST', body: 'x' })] });
        // What a client does that follows.
        const secure = location !== `http://${bound}/`;
        const to = secure ? 'unbound' : 'bound';
        await session.exchange({ to, secure, send: [session.request('/went', { to, secure })] });
      }
    },
  },
  {
    id: 'ranges',
    title: 'A value parked on the bound host cannot be read in pieces',
    category: 'protocol',
    reference: 'RFC 9110 section 14.2',
    leak: TO_SANDBOX,
    needs: ['redaction'],
    run: async (session) => {
      session.answer(createParkingPlace());
      const { bound, value } = session.target;
      await session.exchange({ to: 'bound', send: [session.request('/file', { method: 'PUT' })] });
      if (!session.requests.some((request) => credentialOf(request) === value))
        throw new Error('the value never reached the upstream');
      for (const name of ['Range', 'range', 'RANGE']) {
        let read = '';
        for (let from = 0; from < value.length; from += 7) {
          const lines = [
            `Host: ${bound}`,
            `${name}: bytes=${from}-${Math.min(from + 6, value.length - 1)}`,
            'If-Range: "1"',
          ];
          const { responses } = await session.exchange({ to: 'bound', send: [session.request('/file', { lines })] });
          read += responses.map((response) => decodeBody(response).toString('latin1')).join('');
        }
        if (read.includes(value)) session.find(`the client read the value in pieces (${name})`);
      }
    },
  },
  {
    id: 'parked-elsewhere',
    title: 'A value parked on the bound host is read from an unbound one',
    category: 'protocol',
    reference: 'shared object stores, webhooks, mirrors',
    leak: TO_SANDBOX,
    needs: ['redaction'],
    run: async (session) => {
      session.answer(createParkingPlace());
      await session.exchange({ to: 'bound', send: [session.request('/file', { method: 'PUT' })] });
      if (!session.requests.some((request) => credentialOf(request) === session.target.value))
        throw new Error('the value never reached the upstream');
      for (const to of ['bound', 'unbound'] as const) {
        const bare = `GET /file HTTP/1.1\r\nHost: ${session.target[to]}\r\nConnection: close\r\n\r\n`;
        await session.exchange({ to, send: [bare] });
      }
      const secure = false;
      await session.exchange({ to: 'unbound', secure, send: [session.request('/file', { to: 'unbound', secure })] });
    },
  },
];
