import { bodyFormat } from '../packages/runtime/src/secrets/body-format.ts';
import type { BoundSecret, Location } from '../packages/runtime/src/secrets/bound-secret.ts';
import { RedactionOracle } from '../packages/runtime/src/secrets/redact-oracle.ts';
import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';
import { BodySubstituter } from '../packages/runtime/src/secrets/substitute-body.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import type { Dice } from './campaign/dice.ts';
import { targetOfThrows } from './campaign/thrown.ts';

const VALUE_ALPHABETS = ['abcdefghijklmnop0123456789', 'a:/?#%&= +\\"', 'é€ab', 'sp_A1_', 'a\n\0b\r', '-\r\nq'];
const LOCATIONS: readonly Location[] = [{ kind: 'header' }, { kind: 'body' }];
const BOUNDARY = 'q-b';
const CONTENT_TYPES = [
  'application/json',
  'application/x-www-form-urlencoded',
  'text/plain',
  'application/grpc',
  `multipart/form-data; boundary="${BOUNDARY}"`,
];
const NOISE = [
  'a', '\\', '\\\\', '\\u', '\\u00', '\\u0073', '\\/', '\\n', '%', '%7', '%73', '%5f', 'sp_', '"', '{', ' ', '=', '&', '\0', 'é',
  '\\ud83d', '\\ude00', '\r', '\n', '\r\n', '-', '--', `--${BOUNDARY}`, `\r\n--${BOUNDARY}`, `\r\n--${BOUNDARY}--`, '\r\n\r\n',
  'Content-Type: application/json\r\n', 'Content-Type: application/grpc',
]; // prettier-ignore

/** One character of a text, and the bytes that stand for it. */
interface Token {
  readonly code: number;
  readonly written: string;
}

/** Reads a whole text at once, naively: what each byte or escape stands for. */
function tokens(text: string, kind: string): Token[] {
  const pattern =
    kind === 'json'
      ? /\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u(?![dD][89a-fA-F])[\da-fA-F]{4}|\\["\\/bfnrt]|[^]/g
      : kind === 'form'
        ? /%[\da-fA-F]{2}|[^]/g
        : /[^]/g;
  return (text.match(pattern) ?? []).map((written) => {
    if (written.length === 1) return { code: written.charCodeAt(0), written };
    if (written.startsWith('%')) return { code: Number.parseInt(written.slice(1), 16), written };
    const decoded = JSON.parse(`"${written}"`) as string;
    return { code: decoded.charCodeAt(0) > 0x7f ? -1 : decoded.charCodeAt(0), written };
  });
}

/** Substitutes in a whole text of one format, naively. */
function substituteText(
  text: string,
  kind: string,
  secrets: readonly BoundSecret[],
  allowed: ReadonlySet<string>,
): string {
  const all = tokens(text, kind);
  const decoded = all.map(({ code }) => String.fromCharCode(code === -1 ? 0xffff : code)).join('');
  let result = '';
  let done = 0;
  for (;;) {
    let best: { at: number; secret: BoundSecret } | undefined;
    for (const secret of secrets) {
      const at = decoded.indexOf(secret.placeholder, done);
      if (at !== -1 && (best === undefined || at < best.at)) best = { at, secret };
    }
    if (best === undefined) break;
    const { at, secret } = best;
    const end = at + secret.placeholder.length;
    const value = secret.value.reveal();
    result += all.slice(done, at).map(({ written }) => written).join(''); // prettier-ignore
    result +=
      kind === 'opaque' || !allowed.has(secret.name)
        ? all.slice(at, end).map(({ written }) => written).join('') // prettier-ignore
        : kind === 'json'
          ? Buffer.from(JSON.stringify(value).slice(1, -1)).toString('latin1')
          : kind === 'form'
            ? encodeURIComponent(value).replaceAll(
                /[!'()*]/g,
                (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
              )
            : Buffer.from(value).toString('latin1');
    done = end;
  }
  return result + all.slice(done).map(({ written }) => written).join(''); // prettier-ignore
}

/** The same of a multipart body: cut at its delimiter lines. */
function substituteParts(text: string, secrets: readonly BoundSecret[], allowed: ReadonlySet<string>): string {
  const first = new RegExp(`^--${BOUNDARY}(?:--|[ \\t]*\\r\\n)`).exec(text)?.[0];
  let result = '';
  let rest = text;
  const structure = (length: number): void => {
    result += rest.slice(0, length);
    rest = rest.slice(length);
  };
  let next = first;
  let content = 'opaque';
  for (;;) {
    if (next === undefined) {
      const found = new RegExp(`\\r\\n--${BOUNDARY}(?:--|[ \\t]*\\r\\n)`).exec(rest);
      const end = found?.index ?? rest.length;
      result += substituteText(rest.slice(0, end), content, secrets, allowed);
      rest = rest.slice(end);
      if (found === null) return result;
      next = found[0];
    }
    if (next.endsWith('--')) return result + rest;
    structure(next.length - 2);
    next = undefined;
    content = 'raw';
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) continue;
    const types = [...rest.slice(2, end + 2).matchAll(/^content-type:(.*)\r$/gim)].map((match) => match[1]!);
    structure(end + 2);
    content = bodyFormat(types).kind;
  }
}

function piece(dice: Dice, secrets: readonly BoundSecret[]): string {
  const { placeholder } = dice.pick(secrets);
  switch (dice.below(6)) {
    case 0:
      return placeholder;
    case 1:
    case 2:
      return [...placeholder]
        .map((char) => {
          const hex = char.charCodeAt(0).toString(16);
          const style = dice.below(5);
          return style === 0 ? `%${hex}` : style === 1 ? `\\u00${dice.below(2) === 0 ? hex : hex.toUpperCase()}` : char;
        })
        .join('');
    case 3:
      return placeholder.slice(0, dice.below(placeholder.length));
    default:
      return dice.pick(NOISE);
  }
}

/**
 * Puts values into random bodies in random pieces and holds the result against a naive substitution of the whole, and redaction as the
 * way back.
 */
export function openTarget(): FuzzTarget<{ dice: number[] }> {
  return targetOfThrows('substitute-body', (dice) => {
    const prefix = dice.below(2) === 0 ? 'sp_' : '';
    const secrets: BoundSecret[] = Array.from({ length: 1 + dice.below(3) }, (_, i) => ({
      name: `S${i}`,
      env: `S${i}`,
      placeholder: `${prefix}${'ABC'[i]}1_q9w8e7`,
      value: new SecretValue(dice.text(dice.pick(VALUE_ALPHABETS), 8 + dice.below(20))),
      hosts: [],
      locations: LOCATIONS.filter(() => dice.below(4) > 0),
    }));
    const bound = secrets.filter(() => dice.below(4) > 0);
    const type = dice.pick(CONTENT_TYPES);
    let text = '';
    for (let i = dice.below(16); i > 0; i--) text += piece(dice, secrets);
    const body = Buffer.from(text);
    const report = (what: string, detail: unknown): never => {
      const shown = secrets.map((secret) => ({ ...secret, value: secret.value.reveal() }));
      throw new Error(
        `${what}: ${JSON.stringify({ type, text, detail, shown, bound: bound.map(({ name }) => name) })}`,
      );
    };
    check(dice, type, body, secrets, bound, report);
  });
}

function check(
  dice: Dice,
  type: string,
  body: Buffer,
  secrets: readonly BoundSecret[],
  bound: readonly BoundSecret[],
  report: (what: string, detail: unknown) => never,
): void {
  const format = bodyFormat([type]);
  const stream = new BodySubstituter(secrets).stream(format, bound);
  const output: Buffer[] = [];
  let at = 0;
  let longestHold = 0;
  let written = 0;
  while (at < body.length) {
    const next = at + 1 + dice.below(12);
    const chunk = Buffer.from(body.subarray(at, next));
    const out = Buffer.from(stream.push(chunk));
    chunk.fill(0x2a);
    output.push(out);
    at = next;
    written += out.length;
    longestHold = Math.max(longestHold, Math.min(at, body.length) - written);
  }
  output.push(stream.end());
  const result = Buffer.concat(output).toString('latin1');
  if (stream.failure !== null) {
    const failed = bound.find(({ name }) => name === stream.failure?.name);
    if (format.kind !== 'multipart' || failed?.value.reveal().includes(`--${BOUNDARY}`) !== true)
      report('failed', null);
    return;
  }
  const allowed = new Set(bound.filter(({ locations }) => locations.some(({ kind }) => kind === 'body')).map(({ name }) => name)); // prettier-ignore
  const text = body.toString('latin1');
  const expected =
    format.kind === 'multipart'
      ? substituteParts(text, secrets, allowed)
      : substituteText(text, format.kind, secrets, allowed);
  if (result !== expected) report('another result', { result, expected });
  if (format.kind !== 'multipart' && longestHold > 6 * secrets[0]!.placeholder.length + 12)
    report('holds', longestHold);
  for (const name of stream.released) if (!allowed.has(name)) report('released without being allowed', name);
  const redactor = new Redactor(
    secrets.map(({ name, placeholder, value }) => ({ name, placeholder, values: [value] })),
  );
  const clean = redactor.redactText(result);
  const bytes = secrets.map(({ value }) => Buffer.from(value.reveal()).toString('latin1'));
  if (new RedactionOracle(clean, bytes).matches.length > 0) report('a value is left after redaction', clean);
}

if (import.meta.main) await runFromCommandLine(openTarget, 10000);
