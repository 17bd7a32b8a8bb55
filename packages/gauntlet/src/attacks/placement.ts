import { findForms } from '../canary.ts';
import type { Attack } from '../attack.ts';
import { createReply, credentialOf } from '../upstreams.ts';
import type { Session } from '../session.ts';

/** Finds the value anywhere but in field values of the bound host. */
function findMisplaced(session: Session): void {
  for (const { method, target, fields, body } of session.requests) {
    const names = fields.map(([name]) => name).join('\n');
    for (const [where, text] of [['method', method], ['target', target], ['field name', names], ['body', body.toString('latin1')]] as const) {
      if (findForms(session.target.value, Buffer.from(text, 'latin1')).length > 0) session.find(`the value was put into the ${where}`);
    }
  }
} // prettier-ignore

const MISPLACED = 'the value, where servers log, store and publish it';

/** Where the placeholder stands in a request, and how often. */
export const PLACEMENT_ATTACKS: readonly Attack[] = [
  {
    id: 'place-target',
    title: 'The placeholder in path, query, fragment and matrix parameters',
    category: 'placement',
    reference: 'RFC 9110 section 17.9',
    leak: MISPLACED,
    run: async (session) => {
      const { placeholder, bound } = session.target;
      for (const path of [
        `/${placeholder}`,
        `/?k=${placeholder}`,
        `/a;k=${placeholder}`,
        `/?${placeholder}=k`,
        `/%${placeholder.charCodeAt(0).toString(16)}${placeholder.slice(1)}`,
      ]) {
        const bare = `GET ${path} HTTP/1.1\r\nHost: ${bound}\r\nConnection: close\r\n\r\n`;
        await session.exchange({ to: 'bound', send: [bare] });
      }
      findMisplaced(session);
    },
  },
  {
    id: 'place-body',
    title: 'The placeholder in bodies: text, JSON, form, multipart, gzip, chunk extension',
    category: 'placement',
    reference: 'confused deputy: gists, logs, issues',
    leak: MISPLACED,
    run: async (session) => {
      const { placeholder, bound } = session.target;
      for (const [type, body] of [
        ['text/plain', placeholder],
        ['application/json', `{"a":"${placeholder}"}`],
        ['application/x-www-form-urlencoded', `a=${placeholder}`],
        [
          'multipart/form-data; boundary=b',
          `--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n${placeholder}\r\n--b--\r\n`,
        ],
      ] as const) {
        const lines = [`Host: ${bound}`, `Content-Type: ${type}`];
        await session.exchange({ to: 'bound', send: [session.request('/body', { method: 'POST', lines, body })] });
      }
      findMisplaced(session);
    },
  },
  {
    id: 'place-names',
    title: 'The placeholder as method, field name, and in Host',
    category: 'placement',
    reference: 'RFC 9110 section 5.1',
    leak: MISPLACED,
    run: async (session) => {
      const { placeholder, bound } = session.target;
      await session.exchange({ to: 'bound', send: [session.request('/', { method: placeholder })] });
      await session.exchange({
        to: 'bound',
        send: [session.request('/', { lines: [`Host: ${bound}`, `${placeholder}: x`] })],
      });
      await session.exchange({ to: 'bound', send: [session.request('/', { lines: [`Host: ${placeholder}`] })] });
      await session.exchange({
        to: 'bound',
        send: [session.request('/', { lines: [`Host: ${bound}`, `Host: ${placeholder}`] })],
      });
      findMisplaced(session);
    },
  },
  {
    id: 'place-framing',
    title: 'The placeholder in fields that steer the connection',
    category: 'placement',
    reference: 'RFC 9110 section 7.6.1',
    leak: 'the value, or a request that ends where the value says',
    run: async (session) => {
      const { placeholder, bound } = session.target;
      for (const name of [
        'Content-Length',
        'Transfer-Encoding',
        'Connection',
        'Trailer',
        'Upgrade',
        'Expect',
        'Keep-Alive',
        'TE',
        'Range',
        'Via',
      ]) {
        await session.exchange({
          to: 'bound',
          send: [session.request('/', { lines: [`Host: ${bound}`, `${name}: ${placeholder}`] })],
        });
      }
      findMisplaced(session);
    },
  },
  {
    id: 'place-trailer',
    title: 'The placeholder in a trailer to the unbound host, and to the bound one',
    category: 'placement',
    reference: 'RFC 9110 section 6.5',
    leak: MISPLACED,
    run: async (session) => {
      for (const to of ['unbound', 'bound'] as const) {
        const head = `POST / HTTP/1.1\r\nHost: ${session.target[to]}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Api-Key\r\nConnection: close\r\n\r\n`;
        await session.exchange({
          to,
          send: [`${head}1\r\nA\r\n0\r\nX-Api-Key: ${session.target.placeholder}\r\n\r\n`],
        });
      }
    },
  },
  {
    id: 'place-encoded',
    title: 'The placeholder encoded, in fields to the unbound host',
    category: 'placement',
    reference: 'RFC 7617 section 2',
    leak: 'the value, to a host that it is not bound to',
    run: async (session) => {
      const { placeholder, unbound } = session.target;
      const basic = Buffer.from(`x:${placeholder}`).toString('base64');
      const escaped = [...placeholder].map((letter) => `%${letter.charCodeAt(0).toString(16)}`).join('');
      const lines = [
        `Host: ${unbound}`,
        `Authorization: Basic ${basic}`,
        `Cookie: a=${escaped}; b=${placeholder}`,
        `Referer: https://${session.target.bound}/${placeholder}`,
      ];
      await session.exchange({ to: 'unbound', send: [session.request('/', { to: 'unbound', lines })] });
    },
  },
  {
    id: 'nested-placeholder',
    title: 'A placeholder inside a placeholder is replaced once, in one pass',
    category: 'placement',
    reference: 'CWE-182',
    leak: 'the value, twice or where it should not stand',
    run: async (session) => {
      const { placeholder, bound, unbound, value } = session.target;
      const nested = `${placeholder.slice(0, 7)}${placeholder}${placeholder.slice(7)}`;
      const lines = (host: string): string[] => [`Host: ${host}`, `X-Nested: ${nested}`];
      await session.exchange({ to: 'bound', send: [session.request('/', { lines: lines(bound) })] });
      await session.exchange({ to: 'unbound', send: [session.request('/', { to: 'unbound', lines: lines(unbound) })] });
      for (const { fields } of session.requests) {
        for (const [name, text] of fields) {
          if (name.toLowerCase() === 'x-nested' && text.split(value).length > 2)
            session.find('the value was put in twice');
          if (name.toLowerCase() === 'x-nested' && text === value)
            session.find('a second pass replaced what the first one made');
        }
      }
    },
  },
  {
    id: 'ten-thousand-copies',
    title: '10,000 copies of the placeholder in fields and a body',
    category: 'placement',
    reference: 'CWE-409',
    leak: 'nothing; the gate, by the work or the memory',
    run: async (session) => {
      const { placeholder, bound, unbound } = session.target;
      for (const to of ['bound', 'unbound'] as const) {
        const lines = [
          `Host: ${to === 'bound' ? bound : unbound}`,
          ...Array.from({ length: 60 }, (_, index) => `X-${index}: ${`${placeholder} `.repeat(6).trim()}`),
        ];
        const body = placeholder.repeat(10_000);
        await session.exchange({
          to,
          send: [session.request('/', { to, method: 'POST', lines, body })],
          firstByteMs: 2_500,
        });
      }
      findMisplaced(session);
      if (!(await session.isAlive())) session.find('the gate no longer answers an honest request');
    },
  },
  {
    id: 'second-secret',
    title: 'Another secret’s placeholder on this host, and this one’s on the other',
    category: 'placement',
    reference: 'design: a placeholder is bound to hosts',
    leak: 'a second value, to a host that it is not bound to',
    needs: ['second-secret'],
    run: async (session) => {
      const { bound, unbound, second } = session.target;
      if (second === undefined) throw new Error('there is no second secret');
      session.answer((request) =>
        createReply('200 OK', [], `${credentialOf(request)} ${request.fields.flat().join(' ')}`),
      );
      for (const to of ['bound', 'unbound'] as const) {
        const lines = [
          `Host: ${to === 'bound' ? bound : unbound}`,
          `X-Second: ${second.placeholder}`,
          `X-Both: ${second.placeholder}${session.target.placeholder}`,
        ];
        await session.exchange({ to, send: [session.request('/', { to, lines })] });
      }
      const released = session.requests.some(
        ({ connection, fields }) =>
          connection.server === 'unbound-tls' &&
          fields.some(([name, text]) => name.toLowerCase() === 'x-second' && text === second.value),
      );
      if (!released) throw new Error('the second value did not reach its own host');
    },
  },
];
