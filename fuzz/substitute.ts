import { parseArgs } from 'node:util';

import type { RequestHead } from '../packages/runtime/src/http/message.ts';
import type { BoundSecret, Location } from '../packages/runtime/src/secrets/bound-secret.ts';
import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { RedactionOracle } from '../packages/runtime/src/secrets/redact-oracle.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';
import { Substituter } from '../packages/runtime/src/secrets/substitute.ts';
import { Dice } from './redact.ts';

const VALUE_ALPHABETS = ['abcdefghijklmnop0123456789', 'a:/?#%&= +\\"', 'é€ab', 'sp_A1_', ' \tab', 'a\n\0b'];
const LOCATIONS: readonly Location[] = [
  { kind: 'header' },
  { kind: 'header', name: 'x-key' },
  { kind: 'header', name: 'authorization' },
  { kind: 'basic' },
  { kind: 'query' },
  { kind: 'path' },
];
const NAMES = [
  'X-Key',
  'x-key',
  'Authorization',
  'AUTHORIZATION',
  'Proxy-Authorization',
  'Host',
  'Content-Length',
  'Cookie',
  'te',
];
const PIECES = [
  'a',
  '/',
  '?',
  '&',
  '=',
  '%',
  '%2',
  '%41',
  ':',
  ' ',
  'Basic ',
  '.',
  '..',
  'sp_',
  '"',
  '\\',
  'http://',
  '*',
];

function escaped(dice: Dice, text: string): string {
  return [...text]
    .map((char) => (dice.below(3) === 0 ? `%${char.charCodeAt(0).toString(16).padStart(2, '0')}` : char))
    .join('');
}

function piece(dice: Dice, placeholders: readonly string[]): string {
  const placeholder = dice.pick(placeholders);
  switch (dice.below(6)) {
    case 0:
    case 1:
      return placeholder;
    case 2:
      return escaped(dice, placeholder);
    case 3:
      return placeholder.slice(0, dice.below(placeholder.length));
    default:
      return dice.pick(PIECES);
  }
}

function some(dice: Dice, placeholders: readonly string[], most: number): string {
  let text = '';
  for (let i = dice.below(most); i > 0; i--) {
    text += piece(dice, placeholders);
  }
  return text;
}

/**
 * Puts values into random heads and holds the result against what must be true of every result: values only of bound secrets and only where
 * allowed, framing untouched, what is not a placeholder untouched, and redaction as the way back.
 *
 * @throws Error at the first violation.
 *
 * Ends after `milliseconds`; returns how many cases ran.
 */
export function run(seed: number, iterations: number, milliseconds = Number.POSITIVE_INFINITY): number {
  const started = performance.now();
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (performance.now() - started > milliseconds) return iteration;
    const dice = new Dice(Math.imul(seed, 1_000_003) + iteration);
    const prefix = dice.below(2) === 0 ? 'sp_' : '';
    const secrets: BoundSecret[] = Array.from({ length: 1 + dice.below(3) }, (_, i) => ({
      name: `S${i}`,
      env: `S${i}`,
      placeholder: `${prefix}${'ABC'[i]}1_q9w8e7`,
      value: new SecretValue(dice.text(dice.pick(VALUE_ALPHABETS), 8 + dice.below(20))),
      hosts: [],
      locations: LOCATIONS.filter(() => dice.below(3) === 0),
    }));
    const bound = secrets.filter(() => dice.below(3) > 0);
    const placeholders = secrets.map(({ placeholder }) => placeholder);
    const fields: string[] = [];
    for (let i = dice.below(5); i > 0; i--) {
      const inner = some(dice, placeholders, 5);
      const encoding = dice.pick(['base64', 'base64url'] as const);
      const value = dice.below(2) === 0 ? inner.trim() : `Basic ${Buffer.from(inner, 'latin1').toString(encoding)}`;
      fields.push(dice.pick(NAMES), value);
    }
    const given: RequestHead = {
      method: 'GET',
      target: `${dice.pick(['/', '', 'http://h/'])}${some(dice, placeholders, 8)}`,
      minor: 1,
      fields,
    };
    const report = (what: string): never => {
      const shown = {
        given,
        secrets: secrets.map((secret) => ({ ...secret, value: secret.value.reveal() })),
        bound: bound.map(({ name }) => name),
      };
      throw new Error(`seed ${seed}, iteration ${iteration}: ${what}: ${JSON.stringify(shown)}`);
    };
    check(given, secrets, bound, report);
  }
  return iterations;
}

function check(
  given: RequestHead,
  secrets: readonly BoundSecret[],
  bound: readonly BoundSecret[],
  report: (what: string) => never,
): void {
  const before = JSON.stringify(given);
  const result = new Substituter(secrets).substituteHead(given, bound);
  if (JSON.stringify(given) !== before) {
    report('the given head changed');
  }
  if (result.verdict === 'failed') {
    if (!bound.some(({ name }) => name === result.name)) {
      report('a secret that is not bound failed');
    }
    return;
  }
  const { head, released, stray } = result;
  if ((head === given) !== (released.length === 0)) {
    report('the head is new and nothing was released, or the reverse');
  }
  for (const name of released) {
    const secret = bound.find((candidate) => candidate.name === name);
    if (secret === undefined || secret.locations.length === 0) {
      report('released without being bound and allowed');
    }
  }
  for (const { name, value, placeholder } of secrets) {
    const wasThere = [given.target, ...given.fields].some((text) => text.includes(placeholder));
    if (wasThere && !released.includes(name) && !stray.includes(name)) {
      report('a placeholder was neither replaced nor reported');
    }
    if (!released.includes(name)) {
      const bytes = Buffer.from(value.reveal(), 'utf8').toString('latin1');
      for (const [i, text] of [head.target, ...head.fields].entries()) {
        const original = [given.target, ...given.fields][i]!;
        if (
          text !== original &&
          new RedactionOracle(text, [bytes]).matches.length > new RedactionOracle(original, [bytes]).matches.length
        ) {
          const others = secrets.filter((other) => released.includes(other.name));
          if (!others.some((other) => other.value.reveal().includes(value.reveal()))) {
            report('a value is there that was not released');
          }
        }
      }
    }
  }
  if (head.fields.length !== given.fields.length) {
    report('fields came or went');
  }
  for (let i = 0; i < given.fields.length; i += 2) {
    const name = given.fields[i]!;
    if (
      head.fields[i] !== name ||
      (/^(host|te|content-length)$/i.test(name) && head.fields[i + 1] !== given.fields[i + 1])
    ) {
      report('a field name or a framing field changed');
    }
    // oxlint-disable-next-line no-control-regex -- what a field value must not hold
    if (head.fields[i + 1] !== given.fields[i + 1] && /[\0-\x08\n-\x1f\x7f]|[^\0-\xff]/.test(head.fields[i + 1]!)) {
      report('a field value cannot be sent');
    }
  }
  if (head.target !== given.target && /[^!-~]/.test(head.target.replaceAll(/[ \\"]/g, ''))) {
    report('the target cannot be sent');
  }
  checkWayBack(given, head, secrets, report);
}

function checkWayBack(
  given: RequestHead,
  head: RequestHead,
  secrets: readonly BoundSecret[],
  report: (what: string) => never,
): void {
  const redactor = new Redactor(
    secrets.map(({ name, placeholder, value }) => ({ name, placeholder, values: [value] })),
  );
  const bytes = secrets.map(({ value }) => Buffer.from(value.reveal(), 'utf8').toString('latin1'));
  for (const text of [head.target, ...head.fields]) {
    if (new RedactionOracle(redactor.redactText(text), bytes).matches.length > 0) {
      report('a value is left after redaction');
    }
  }
  if (head === given) {
    return;
  }
  for (const [i, text] of head.fields.entries()) {
    if (i % 2 === 1 && text !== given.fields[i] && !/^basic/i.test(text)) {
      const back = redactor.redactText(text);
      const lost = secrets.some(
        ({ placeholder }) => given.fields[i]!.includes(placeholder) && !back.includes(placeholder),
      );
      // Values that contain each other or repeat themselves come back as one.
      if (lost && secrets.length === 1) {
        report('redaction does not bring the placeholder back');
      }
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      iterations: { type: 'string', default: '10000' },
      seconds: { type: 'string', default: 'Infinity' },
    },
  });
  const done = run(Number(values.seed), Number(values.iterations), Number(values.seconds) * 1000);
  process.stdout.write(`substitute: ${done} iterations with seed ${values.seed}, no violation\n`);
}
