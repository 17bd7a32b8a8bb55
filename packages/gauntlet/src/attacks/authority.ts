import type { Attack } from '../attack.ts';
import type { Session } from '../session.ts';
import { SMUGGLED } from '../judge.ts';

const LEAK = 'the value, to a host that it is not bound to';
const FRONTING = 'the value, in a request that names another tenant of a shared front';

interface Case {
  readonly id: string;
  readonly title: string;
  readonly reference: string;
  readonly leak?: string;
  readonly run: (session: Session) => Promise<unknown>;
}

/** A request to one host whose field lines, target or server name tell of the other. */
function send(
  session: Session,
  to: 'bound' | 'unbound',
  path: string,
  lines: readonly string[],
  more: {
    readonly sni?: string | null;
    readonly secure?: boolean;
    readonly version?: string;
    readonly method?: string;
  } = {},
): Promise<unknown> {
  const { sni, secure, ...head } = more;
  const request = session.request(path, { to, lines, ...(secure === undefined ? {} : { secure }), ...head });
  return session.exchange({
    to,
    send: [request],
    ...(sni === undefined ? {} : { sni }),
    ...(secure === undefined ? {} : { secure }),
  });
}

const FORWARDING_FIELDS = [
  'X-Forwarded-Host', 'X-Host', 'X-Original-Host', 'X-Forwarded-Server', 'X-HTTP-Host-Override', 'X-Real-Host', ':authority',
] as const; // prettier-ignore

const CASES: readonly Case[] = [
  {
    id: 'unbound-host',
    title: 'The placeholder in an honest request to the unbound host',
    reference: 'what binding means',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.unbound}`]),
  },
  {
    id: 'host-names-bound-on-unbound',
    title: 'Connection to the unbound host, Host names the bound one',
    reference: 'RFC 9110 section 7.2',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.bound}`]),
  },
  {
    id: 'host-names-unbound-on-bound',
    title: 'Connection to the bound host, Host names the unbound one',
    reference: 'RFC 9110 section 7.4',
    leak: FRONTING,
    run: (s) => send(s, 'bound', '/', [`Host: ${s.target.unbound}`]),
  },
  {
    id: 'sni-bound-on-unbound',
    title: 'Connection to the unbound host, server name of the bound one',
    reference: 'RFC 6066 section 3',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.unbound}`], { sni: s.target.bound }),
  },
  {
    id: 'sni-and-host-bound-on-unbound',
    title: 'Connection to the unbound host, server name and Host of the bound one',
    reference: 'RFC 6066 section 3',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.bound}`], { sni: s.target.bound }),
  },
  {
    id: 'sni-unbound-on-bound',
    title: 'Connection to the bound host, server name of the unbound one',
    reference: 'RFC 6066 section 11.1',
    run: (s) => send(s, 'bound', '/', [`Host: ${s.target.bound}`], { sni: s.target.unbound }),
  },
  {
    id: 'sni-and-host-unbound-on-bound',
    title: 'Connection to the bound host, server name and Host of the unbound one',
    reference: 'RFC 6066 section 11.1',
    leak: FRONTING,
    run: (s) => send(s, 'bound', '/', [`Host: ${s.target.unbound}`], { sni: s.target.unbound }),
  },
  {
    id: 'sni-missing',
    title: 'No server name on a connection to the unbound host, Host names the bound one',
    reference: 'RFC 6066 section 3',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.bound}`], { sni: null }),
  },
  {
    id: 'absolute-form-unbound-on-bound',
    title: 'Absolute target of the unbound host under the bound Host',
    reference: 'RFC 9112 section 3.2.2',
    leak: FRONTING,
    run: (s) => send(s, 'bound', `https://${s.target.unbound}/`, [`Host: ${s.target.bound}`]),
  },
  {
    id: 'absolute-form-bound-on-unbound',
    title: 'Absolute target of the bound host on a connection to the unbound one',
    reference: 'RFC 9112 section 3.2.2',
    run: (s) => send(s, 'unbound', `https://${s.target.bound}/`, [`Host: ${s.target.unbound}`]),
  },
  {
    id: 'absolute-form-in-clear',
    title: 'Absolute https target of the bound host, sent in clear to the unbound one',
    reference: 'RFC 9112 section 3.2.2',
    leak: 'the value, in clear or to another host',
    run: (s) => send(s, 'unbound', `https://${s.target.bound}/`, [`Host: ${s.target.bound}`], { secure: false }),
  },
  {
    id: 'userinfo',
    title: 'The bound host as user name of an absolute target',
    reference: 'RFC 3986 section 7.6',
    run: async (s) => {
      for (const at of ['@', ':443@', ':x@', '%40', '\\@']) {
        await send(s, 'unbound', `https://${s.target.bound}${at}${s.target.unbound}/`, [`Host: ${s.target.bound}`]);
      }
    },
  },
  {
    id: 'userinfo-in-host',
    title: 'The bound host as user name in Host',
    reference: 'RFC 9110 section 4.2.4',
    run: (s) => send(s, 'unbound', '/', [`Host: ${s.target.bound}@${s.target.unbound}`]),
  },
  {
    id: 'userinfo-in-dial',
    title: 'The bound host as user name of the destination itself',
    reference: 'RFC 9110 section 9.3.6',
    run: (s) =>
      s.exchange({
        to: 'unbound',
        name: `${s.target.bound}@${s.target.unbound}`,
        send: [s.request('/', { lines: [`Host: ${s.target.bound}`] })],
      }),
  },
  {
    id: 'address-in-dial',
    title: "The unbound server's address as destination, everything else of the bound host",
    reference: 'RFC 9110 section 4.3.3',
    run: async (s) => {
      for (const name of ['127.0.0.1', '::1', '::ffff:127.0.0.1', 'localhost']) {
        await s.exchange({ to: 'bound', name, port: s.unboundPort, send: [s.request('/')] });
      }
    },
  },
  {
    id: 'two-hosts',
    title: 'Two Host fields, either order, on either connection',
    reference: 'RFC 9112 section 3.2',
    run: async (s) => {
      const { bound, unbound } = s.target;
      await send(s, 'unbound', '/', [`Host: ${unbound}`, `Host: ${bound}`]);
      await send(s, 'unbound', '/', [`Host: ${bound}`, `Host: ${unbound}`]);
      await send(s, 'bound', '/', [`Host: ${bound}`, `Host: ${unbound}`]);
      await send(s, 'bound', '/', [`Host: ${unbound}, ${bound}`]);
    },
  },
  {
    id: 'no-host',
    title: 'Host missing, empty, or in HTTP/1.0 none',
    reference: 'RFC 9112 section 3.2',
    leak: FRONTING,
    run: async (s) => {
      await send(s, 'bound', '/', []);
      await send(s, 'bound', '/', ['Host:']);
      await send(s, 'bound', '/', [], { version: 'HTTP/1.0' });
      await send(s, 'unbound', `https://${s.target.bound}/`, [], { version: 'HTTP/1.0' });
    },
  },
  {
    id: 'host-ports',
    title: 'Ports in Host that are not the connection’s',
    reference: 'RFC 9110 section 7.2',
    leak: 'the value, in a request for another service of the host',
    run: async (s) => {
      for (const port of ['80', '8443', '0', '65979', '-1', '+443', '443:80', '443x', '4４3']) {
        await send(s, 'bound', '/', [`Host: ${s.target.bound}:${port}`]);
      }
    },
  },
  {
    id: 'forwarding-fields',
    title: 'X-Forwarded-Host and its kin name the bound host',
    reference: 'RFC 7239 section 5.3',
    run: async (s) => {
      const lines = FORWARDING_FIELDS.map((name) => `${name}: ${s.target.bound}`);
      await send(s, 'unbound', '/', [`Host: ${s.target.unbound}`, ...lines.slice(0, -1)]);
      await send(s, 'unbound', '/', [
        `Host: ${s.target.unbound}`,
        ...lines,
        `Forwarded: host=${s.target.bound};proto=https`,
      ]);
      await send(s, 'unbound', '/', [
        `Host: ${s.target.unbound}`,
        `X-Original-URL: https://${s.target.bound}/`,
        `X-Rewrite-URL: https://${s.target.bound}/`,
        'X-Forwarded-Proto: https',
        'X-Forwarded-Port: 443',
      ]);
    },
  },
  {
    id: 'cleartext',
    title: 'The bound host in clear',
    reference: 'RFC 9110 section 4.2.2',
    leak: 'the value, to whoever listens on the way',
    run: (s) => send(s, 'bound', '/', [`Host: ${s.target.bound}`], { secure: false }),
  },
  {
    id: 'cleartext-forwarded-proto',
    title: 'The bound host in clear, with fields that call it https',
    reference: 'RFC 7239 section 5.4',
    leak: 'the value, to whoever listens on the way',
    run: (s) =>
      send(
        s,
        'bound',
        '/',
        [`Host: ${s.target.bound}:443`, 'X-Forwarded-Proto: https', 'Forwarded: proto=https', 'X-Forwarded-Ssl: on'],
        {
          secure: false,
        },
      ),
  },
  {
    id: 'connect-inside',
    title: 'CONNECT to the unbound host inside the connection to the bound one',
    reference: 'RFC 9110 section 9.3.6',
    run: (s) => {
      const inner = s.request(`/${SMUGGLED}`, { lines: [`Host: ${s.target.bound}`] });
      const head = `CONNECT ${s.target.unbound}:443 HTTP/1.1\r\nHost: ${s.target.unbound}:443\r\nX-Api-Key: ${s.target.placeholder}\r\n\r\n`;
      return s.exchange({ to: 'bound', send: [head, { data: inner, delayMs: 100 }] });
    },
  },
  {
    id: 'second-request-other-host',
    title: 'A second request on the same connection names another host',
    reference: 'RFC 9110 section 7.4',
    leak: FRONTING,
    run: async (s) => {
      const first = s.request('/first', { keepAlive: true });
      await s.exchange({ to: 'bound', send: [first, { data: s.request('/second', { to: 'unbound' }), delayMs: 150 }] });
      const honest = s.request('/first', { to: 'unbound', keepAlive: true });
      await s.exchange({ to: 'unbound', send: [honest, { data: s.request('/second'), delayMs: 150 }] });
    },
  },
];

/** Whose request is it? Attacks on the one name that CONNECT, server name, Host and target must agree on. */
export const AUTHORITY_ATTACKS: readonly Attack[] = CASES.map(({ run, leak = LEAK, ...rest }) => ({
  ...rest,
  leak,
  category: 'authority',
  run: async (session) => void (await run(session)),
}));
