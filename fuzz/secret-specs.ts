/**
 * Fuzz target for `--secret`: what is read is what was written, printing it gives the same again, no message or printed form repeats the
 * value, and a secret is bound to exactly the origins that a slow reading of its hosts gives.
 *
 * `node --conditions=sallyport-source fuzz/secret-specs.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { inspect } from 'node:util';

import { SallyportError } from '@sallyport/sdk';

import type { Authority } from '../packages/runtime/src/http/message.ts';
import { canonicalHost } from '../packages/runtime/src/policy/host-name.ts';
import { createSecretSet } from '../packages/runtime/src/secrets/secret-set.ts';
import { formatSecretHost, parseLocations, parseSecretSpec } from '../packages/runtime/src/secrets/secret-spec.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { hostNear, randomPattern } from './policy/random-hosts.ts';
import { slowlyCovers } from './policy/slow-rules.ts';

const CODES = new Set([
  'INVALID_SECRET_SPEC',
  'INVALID_HOST_PATTERN',
  'INVALID_SECRET_VALUE',
  'SECRET_VALUE_TOO_SHORT',
]);
const NAMES = ['TOKEN', 'a', '_X1', '1X', 'A-B', '', 'A B', 'É', 'A'.repeat(129), 'NAME.x', 'T\0'];
const VALUES = [
  'q9Zv7Kx2Lm',
  'q9Zv7Kx@2Lm=x',
  'q9Z,v7K:x2/Lm',
  'q9Zv7Kx2L\n',
  'q9Zv7K\0x2Lm',
  'q9Zv',
  '',
  'q9Zv7Kx2Lmé',
  'q9Zv7Kx2Lm€',
  ' q9Zv7Kx2Lm ',
  'q9Zv7Kx2Lm@evil.example',
  'http://q9Zv7Kx2Lm',
];
const SCHEMES = ['', '', '', 'http://', 'https://', 'HTTP://', 'ftp://', 'http:/'];

type Case = { text: string; hosts: string[]; port: number };

/** What a value might leak as: any run of it that is long enough to be no accident. */
function leaks(text: string, value: string): boolean {
  return value.length >= 6 && text.includes(value);
}

function check({ text, hosts, port }: Case, note: (what: string) => void): string | null {
  const at = text.lastIndexOf('@');
  const equals = text.indexOf('=');
  const written = at >= 0 && equals >= 0 && equals < at ? text.slice(equals + 1, at) : null;
  // What stands elsewhere in the text as well is no secret.
  const rest = text.slice(0, Math.max(0, equals)) + text.slice(Math.max(0, at));
  const secret = written === null || rest.includes(written) ? '' : written;
  let spec;
  try {
    spec = parseSecretSpec(text);
  } catch (error) {
    if (!(error instanceof SallyportError) || !CODES.has(error.code)) throw error;
    note(`refused ${error.code}`);
    return leaks(error.message, secret) ? 'the message repeats the value' : null;
  }
  note(spec.kind);
  if (spec.kind === 'named') {
    const again = spec.env === undefined ? spec.name : `${spec.name}:${spec.env}`;
    return again === text ? null : `another name: ${JSON.stringify(spec)}`;
  }
  if ((spec.value?.reveal() ?? null) !== written) return 'the value is not what was written';
  if (spec.env !== text.slice(0, written === null ? at : equals)) return 'another variable';
  const shown = `${inspect(spec, { depth: 9, showHidden: true })} ${JSON.stringify(spec)} ${String(spec.value)}`;
  if (leaks(shown, secret.replaceAll(/\\|'/g, ''))) return 'a printed form repeats the value';
  const printed = spec.hosts.map(formatSecretHost).join(',');
  const again = parseSecretSpec(`${spec.env}${written === null ? '' : `=${written}`}@${printed}`);
  if (again.kind !== 'bound' || JSON.stringify(again.hosts) !== JSON.stringify(spec.hosts))
    return `print of parse is no identity: ${printed}`;
  const set = createSecretSet({
    inputs: [{ env: spec.env, value: parseValue(spec.value?.reveal()), hosts: spec.hosts }],
    locations: parseLocations([]),
    plainNames: [],
    placeholderFor: () => 'sp_PLACEHOLDER_0123456789',
  });
  for (const wanted of hosts) {
    const host = canonicalHost(wanted);
    if (host === null) continue;
    for (const scheme of ['https', 'http'] as const) {
      const authority: Authority = { scheme, host, port };
      const covers = spec.hosts.some((entry) => {
        // A port of its own is in the text; without one it is the scheme's.
        const ownPort = /[^\]]:(\d+)$/.exec(entry.pattern.text.replace(/^\[[^\]]*\]/, 'x'))?.[1];
        const only = ownPort === undefined ? (entry.scheme === 'https' ? 443 : 80) : Number(ownPort);
        return entry.scheme === scheme && only === port && slowlyCovers(entry.pattern.text, host, port);
      });
      if (covers) note('origins that a secret is bound to');
      if (set.secretsFor(authority).length !== (covers ? 1 : 0))
        return `bound to another set of origins: ${JSON.stringify([printed, authority])}`;
    }
  }
  return null;
}

function parseValue(value: string | undefined): ReturnType<typeof parseBoundValue> {
  return parseBoundValue(value ?? 'q9Zv7Kx2Lm');
}

function parseBoundValue(value: string) {
  const spec = parseSecretSpec(`X=${value}@value.example`);
  if (spec.kind !== 'bound' || spec.value === undefined) throw new TypeError('a value is read once and not again');
  return spec.value;
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  return {
    name: 'secret-specs',
    generate(random) {
      const name = random.oneIn(6) ? random.pick(NAMES) : 'TOKEN';
      const value = random.oneIn(4) ? '' : `=${random.oneIn(3) ? random.pick(VALUES) : 'q9Zv7Kx2Lm'}`;
      const list = Array.from({ length: 1 + random.below(3) }, () => random.pick(SCHEMES) + randomPattern(random));
      let text = random.oneIn(10) ? `${name}:${random.pick(NAMES)}` : `${name}${value}@${list.join(',')}`;
      if (random.oneIn(8)) {
        const cut = random.below(text.length + 1);
        text =
          text.slice(0, cut) +
          random.pick(['@', '=', ',', ':', '\0', '', ' ', '@@']) +
          text.slice(cut + random.below(3));
      }
      return {
        text,
        hosts: Array.from({ length: 4 }, () => hostNear(random, list)),
        port: random.pick([80, 443, 443, 8443, 22]),
      };
    },
    check,
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 30_000);
