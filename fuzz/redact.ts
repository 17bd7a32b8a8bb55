import { parseArgs } from 'node:util';

import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { RedactionOracle } from '../packages/runtime/src/secrets/redact-oracle.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';

/** A small generator of pseudo-random numbers (mulberry32), so that a seed gives the same run everywhere. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  text(alphabet: string, length: number): string {
    const characters = [...alphabet];
    let text = '';
    for (let i = 0; i < length; i++) {
      text += this.pick(characters);
    }
    return text;
  }
}

const TOKEN = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+/=.~';
const ALPHABETS = [
  TOKEN,
  'ab',
  'a',
  '0123456789',
  '0123456789abcdef',
  'a%4',
  'a\\u06',
  'a +',
  'n\\"/',
  'é€😀a',
  'ÿþ<>?~',
  'é1',
];
const NOISE = [
  '%',
  '\\',
  '\\u',
  '%4',
  'n',
  '"',
  ' ',
  '+',
  '=',
  '/',
  '\n\n',
  'a',
  '6',
  '1',
  '\\u00',
  '\r\n',
  'Q',
  'ABCD',
  'W',
];

function randomValue(dice: Dice, others: readonly string[]): string {
  const other = others.length > 0 ? [...dice.pick(others)] : [];
  const length = 8 + dice.below(dice.pick([3, 8, 30]));
  const own = dice.text(dice.pick(ALPHABETS), length);
  switch (dice.below(6)) {
    case 0:
      return other.slice(0, dice.below(other.length + 1)).join('') + own;
    case 1:
      return other.slice(dice.below(other.length + 1)).join('') + own;
    default:
      return own;
  }
}

/** Encodes every character at random: as itself, or by one of the escapes in `ways`. */
export function encodeMixed(dice: Dice, value: string, ways: readonly ('raw' | 'percent' | 'json' | 'plus')[]): string {
  let text = '';
  for (const char of value) {
    const way = dice.pick(ways);
    const upper = dice.below(2) === 1;
    let encoded = Buffer.from(char, 'utf8').toString('latin1');
    if (way === 'percent') {
      encoded = [...Buffer.from(char, 'utf8')]
        .map((byte) => `%${letters(byte.toString(16).padStart(2, '0'), upper)}`)
        .join('');
    } else if (way === 'json') {
      const short = JSON.stringify(char).slice(1, -1);
      encoded = [...Array(char.length).keys()]
        .map((i) => `\\u${letters(char.charCodeAt(i).toString(16).padStart(4, '0'), upper)}`)
        .join('');
      if (char === '/' && dice.below(2) === 1) {
        encoded = '\\/';
      } else if (short.startsWith('\\') && dice.below(2) === 1) {
        encoded = short;
      }
    } else if (way === 'plus' && char === ' ') {
      encoded = '+';
    }
    text += encoded;
  }
  return text;
}

function letters(hex: string, upper: boolean): string {
  return upper ? hex.toUpperCase() : hex;
}

/** One form of the value, as Latin-1 text. */
export function randomForm(dice: Dice, value: string): string {
  const utf8 = Buffer.from(value, 'utf8');
  switch (dice.below(9)) {
    case 0:
      return utf8.toString('latin1');
    case 1:
      return encodeMixed(dice, value, ['percent', 'raw', 'plus']);
    case 2:
      return encodeMixed(dice, value, ['json', 'raw']);
    case 3:
      return encodeMixed(dice, value, [dice.pick(['percent', 'json'] as const)]);
    case 4:
      return [...utf8.toString('hex')].map((char) => (dice.below(2) === 1 ? char.toUpperCase() : char)).join('');
    case 5:
      return letters(utf8.toString('hex'), dice.below(2) === 1);
    default: {
      const noise = Buffer.from(dice.text(TOKEN, dice.below(5)));
      const tail = Buffer.from(dice.text(TOKEN, dice.below(5)));
      const parts = dice.below(4) === 0 ? [noise, utf8, utf8, tail] : [noise, utf8, tail];
      const encoded = Buffer.concat(parts).toString(dice.pick(['base64', 'base64url']));
      return dice.below(3) === 0 ? encodeMixed(dice, encoded, ['raw', 'raw', dice.pick(['json', 'percent'])]) : encoded;
    }
  }
}

function randomText(dice: Dice, values: readonly string[]): string {
  let text = '';
  const parts = 1 + dice.below(6);
  for (let i = 0; i < parts; i++) {
    const form = randomForm(dice, dice.pick(values));
    switch (dice.below(5)) {
      case 0:
      case 1:
        text += form;
        break;
      case 2:
        text += form.slice(0, dice.below(form.length + 1));
        break;
      case 3:
        text += dice.text(TOKEN, dice.below(40));
        break;
      default:
        for (let j = dice.below(5); j > 0; j--) {
          text += dice.pick(NOISE);
        }
    }
  }
  return text;
}

function fail(seed: number, iteration: number, what: string, detail: unknown): never {
  throw new Error(`seed ${seed}, iteration ${iteration}: ${what}: ${JSON.stringify(detail)}`);
}

const PLACEHOLDERS = ['A_q1', 'B_q1w', 'C_q1w2'];

function redactorOf(values: readonly string[], prefix: string): Redactor {
  return new Redactor(
    values.map((value, i) => ({
      name: `S${i}`,
      placeholder: prefix + PLACEHOLDERS[i]!,
      values: [new SecretValue(value)],
    })),
  );
}

/** Compares redaction with the oracle and any chunking with the whole. Ends after `milliseconds`; returns how many cases ran. @throws Error at the first difference. */
export function run(seed: number, iterations: number, milliseconds = Number.POSITIVE_INFINITY): number {
  const started = performance.now();
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (performance.now() - started > milliseconds) return iteration;
    const dice = new Dice(Math.imul(seed, 1_000_003) + iteration);
    const values: string[] = [];
    const count = 1 + dice.below(3);
    while (values.length < count) {
      values.push(randomValue(dice, values));
    }
    const redactor = redactorOf(values, 'sp_');
    const text = randomText(dice, values);
    const bytes = values.flatMap((value) => {
      const utf8 = Buffer.from(value, 'utf8').toString('latin1');
      return utf8.length !== value.length && [...value].every((char) => char.charCodeAt(0) < 256)
        ? [utf8, value]
        : [utf8];
    });
    const case_ = { values, text };
    const oracle = new RedactionOracle(text, bytes);
    const input = Buffer.from(text, 'latin1');
    const whole = redactor.redactBytes(input);
    if (oracle.matches.length === 0 && whole !== input) {
      fail(seed, iteration, 'text without forms changed', { ...case_, output: whole.toString('latin1') });
    }
    const output = whole.toString('latin1');
    checkParts(text, output, oracle, (what) =>
      fail(seed, iteration, what, { ...case_, output, clusters: oracle.clusters() }),
    );
    const left = new RedactionOracle(output, bytes).matches[0];
    // The first bits of a placeholder may by chance complete a form of which all but the last bits were there; with another placeholder not.
    const second = left === undefined ? '' : redactorOf(values, '.-').redactBytes(input).toString('latin1');
    if (new RedactionOracle(second, bytes).matches.length > 0) {
      fail(seed, iteration, 'a form is left', { ...case_, output, left });
    }
    if (redactor.redactText(text) !== output) {
      fail(seed, iteration, 'redactText differs from redactBytes', case_);
    }
    checkChunks(dice, redactor, input, output, (what, detail) => fail(seed, iteration, what, { ...case_, detail }));
    checkHeld(dice, redactor, text, bytes, (what, detail) => fail(seed, iteration, what, { ...case_, detail }));
  }
  return iterations;
}

/** Everything outside the forms must be there, in order; in their place something else. */
function checkParts(text: string, output: string, oracle: RedactionOracle, report: (what: string) => never): void {
  let at = 0;
  let from = 0;
  for (const { start, end } of [...oracle.clusters(), { start: text.length, end: text.length }]) {
    const gap = text.slice(from, start);
    const found = from === 0 ? (output.startsWith(gap) ? 0 : -1) : output.indexOf(gap, at);
    if (found === -1) {
      report('text outside the forms changed');
    }
    at = found + gap.length;
    from = end;
  }
}

function checkChunks(
  dice: Dice,
  redactor: Redactor,
  input: Buffer,
  output: string,
  report: (what: string, detail: unknown) => never,
): void {
  for (const most of [1, 3, 1 + dice.below(50)]) {
    const stream = redactor.stream();
    const sizes: number[] = [];
    let joined = '';
    for (let at = 0; at < input.length;) {
      const size = Math.min(input.length - at, 1 + dice.below(most));
      sizes.push(size);
      const chunk = Buffer.from(input.subarray(at, at + size));
      joined += stream.push(chunk).toString('latin1');
      chunk.fill(0);
      at += size;
    }
    joined += stream.end().toString('latin1');
    if (joined !== output) {
      report('chunks differ from the whole', { sizes, joined, output });
    }
  }
}

function checkHeld(
  dice: Dice,
  redactor: Redactor,
  text: string,
  bytes: readonly string[],
  report: (what: string, detail: unknown) => never,
): void {
  for (let i = 0; i < 3; i++) {
    const part = text.slice(0, dice.below(text.length + 1));
    const oracle = new RedactionOracle(part, bytes);
    const stream = redactor.stream();
    const middle = dice.below(part.length + 1);
    stream.push(Buffer.from(part.slice(0, middle), 'latin1'));
    stream.push(Buffer.from(part.slice(middle), 'latin1'));
    const expected = part.length - oracle.live;
    const last = oracle.clusters().at(-1);
    const most =
      last === undefined || last.end < oracle.live ? expected : part.length - Math.min(oracle.live, last.start);
    // Of escapes of characters beyond ASCII that are not complete the oracle knows too little.
    const isSure = bytes.every((value) => /^[\0-\x7f]*$/.test(value)) || !/\\[^\\]{0,5}(\\u?.{0,3})?$/.test(part);
    // A value that itself ends like the beginning of an escape is held until that is one or is not.
    const isPlain = bytes.every((value) => !/[%\\]/.test(value));
    if ((isPlain && stream.heldBytes > most) || (isSure && last === undefined && stream.heldBytes < expected)) {
      report('held bytes', { part, middle, held: stream.heldBytes, expected, most });
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
  process.stdout.write(`redact: ${done} iterations with seed ${values.seed}, no difference\n`);
}
