import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { ATTACKS } from '../../packages/gauntlet/src/index.ts';
import { readAttackList } from './attack-list.ts';

/** The attacks that there must be, by the words of the plan; each finds at least one by its name. */
const PLAN: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  authority: {
    CONNECT: /^connect-inside: /, SNI: /^sni-other$/, Host: /^host-names-bound-on-unbound: /, ':authority': /^h2-authority-other: /, 'coalescing (421)': /^h2-authority-bound: /,
    'absolute-form': /^absolute-other$/, 'X-Forwarded-Host': /^forwarding-fields: /, 'userinfo in URLs': /^userinfo: /, ports: /^host-ports: /, scheme: /^downgrade-scheme: /,
  },
  'host-differentials': {
    NUL: /^name-nul: /, 'trailing dot': /^name-trailing-dots: /, 'U+212A': /U\+212A/, 'fullwidth dots': /^name-unicode-dots: .*fullwidth/, punycode: /^name-punycode: /, 'IPv6 zone': /^name-ipv6-spellings: .*zone/,
    'octal and hex IPv4': /^name-ipv4-spellings: Octal, hexadecimal/,
  },
  smuggling: {
    'CL.TE': /^smuggle-cl-te: /, 'TE.CL': /^smuggle-te-cl: /, 'TE.TE': /^smuggle-te-te: /, 'CL.CL': /^smuggle-cl-cl: /, 'chunk extensions': /^smuggle-chunk-extensions: /, 'bare LF': /^smuggle-bare-lf: /,
    'obs-fold': /^smuggle-obs-fold: /, 'huge chunk sizes': /^smuggle-chunk-sizes: /, 'h2 downgrades with CR/LF in values': /^downgrade-value-crlf: /, 'header names with spaces': /^downgrade-name-crlf: .*space/,
    'cache keys': /^cache-host: /, 'response splitting': /^response-splitting: /,
  },
  reflection: {
    headers: /^reflect-header: /, bodies: /^raw, in a header, a trailer, and in bodies/, trailers: /^reflect-trailer: /, errors: /^reflect-server-error: /, 'status text': /^reflect-status-text: /, cookies: /^reflect-cookie: /,
    "redirects' Location": /^reflect-location: /, gzip: /^reflect-gzip: /, br: /^reflect-br: /, zstd: /^reflect-zstd: /, 'chunk splits of one byte': /^reflect-one-byte-chunks: /, base64: /^reflect-base64-1: /, hex: /^reflect-hex: /,
    percent: /^reflect-percent: /, JSON: /^reflect-json: /, 'HTML entities': /^reflect-html: /, 'UTF-16': /^reflect-utf16: /, 'reversed case for hex': /^reflect-hex-mixed: /, 'TRACE and Max-Forwards': /^trace: .*Max-Forwards/,
  },
  destinations: {
    "redirect to an attacker's host": /^a redirect to an attacker’s host$/, rebinding: /^rebinding: /, '64:ff9b::/96': /^a name that resolves to 64:ff9b::/, '2002::/16': /^a name that resolves to 2002:/,
    '::ffff:0:0/96': /^a name that resolves to ::ffff:127/, '::/96': /^a name that resolves to ::7f00:1$/, 'fec0::/10': /^a name that resolves to fec0:/, '198.18/15': /^a name that resolves to 198\.1[89]\./,
    '224/4': /^a name that resolves to 224\./, '0/8': /^a name that resolves to 0\.1\./, '100.64/10': /^a name that resolves to 100\.64\./, '169.254/16': /^a name that resolves to 169\.254\./, 'link-local with zone': /^the literal address fe80::1%eth0/,
  },
  placeholders: {
    "another secret's placeholder on this host": /^second-secret: /, 'a value parked on a bound host and read back whole': /^parked-elsewhere: /, 'in ranges': /^ranges: /, 'from another allowed host': /^parked-elsewhere: .*unbound/,
    'header:NAME circumvented': /^header:NAME, around it/, '10,000 copies': /^ten-thousand-copies: /, 'placeholders inside placeholders': /^nested-placeholder: /,
  },
  resources: {
    'compression bombs': /^bomb-gzip: /, 'slow everything': /^slow-(heads|bodies|answers): /, 'half-opens': /^half-open connections, .*100,000/, 'descriptor exhaustion': /^every descriptor/,
  },
  'gate-from-inside': {
    "the gate's own files, sockets": /^files and sockets of the gate/, '/proc of the gate': /^\/proc of the gate$/, ptrace: /^ptrace/, 'abstract sockets': /^Unix sockets of the host: abstract/, netlink: /^netlink/, 'raw sockets': /^raw and packet/,
    AF_VSOCK: /^AF_VSOCK/, mount: /^mounts/, 'user namespaces': /^user namespaces/, 'terminal escape': /^terminal escapes/, TIOCSTI: /^TIOCSTI/,
  },
  services: {
    'a foreign key beside the service header': /^foreign key: the header twice$/, 'every spelling': /^foreign key: underscores for hyphens$/, trailers: /^foreign key: a trailer$/, 'the query': /^foreign key: a query parameter, escaped$/,
    'the sentinel elsewhere': /^the sentinel, sent to another host$/, 'guarded placeholders': /^guarded placeholder: another path, by dot segments$/,
  },
  aws: {
    'the signature of another account': /^AWS: the signature of another account$/, 'a presigned URL of another account': /^AWS: a URL presigned by another account$/, 'a session token': /^AWS: a session token$/,
    'another service': /^AWS: a scope of another service$/, 'a host of a customer': /^AWS: a host of somebody else/,
  },
  workspace: { 'symbolic links': /^symbolic links/, 'hard links': /^hard links/ },
}; // prettier-ignore

const families = readAttackList();

test('docs/attacks.md has a section for each family, and each family a file', () => {
  const files = readdirSync(import.meta.dirname).flatMap((name) => /^(.+)\.test\.ts$/.exec(name)?.[1] ?? []);
  assert.deepEqual([...families.keys()].toSorted(), files.filter((name) => name !== 'list').toSorted());
});

for (const [family, words] of Object.entries(PLAN)) {
  test(`every attack of the plan is made: ${family}`, () => {
    const names = [...(families.get(family)?.attacks.keys() ?? [])];
    const missing = Object.entries(words).filter(([, pattern]) => !names.some((name) => pattern.test(name)));
    assert.deepEqual(
      missing.map(([word]) => word),
      [],
    );
  });
}

test('every attack says what would leak, and has a name of its own', () => {
  const all = [...families.values()].flatMap(({ attacks }) => [...attacks]);
  for (const [name, leaks] of all) assert.ok(leaks.length > 8, name);
  for (const { name, attacks } of families.values()) assert.ok(attacks.size > 0, name);
});

test('every attack of the gauntlet is made over this gate, once', () => {
  const names = [...families.values()].flatMap(({ attacks }) => [...attacks.keys()]);
  for (const { id, category, title } of ATTACKS) {
    if (category === 'control') continue;
    assert.equal(names.filter((name) => name === `${id}: ${title}`).length, 1, id);
  }
});
