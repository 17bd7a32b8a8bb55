import { createHash } from 'node:crypto';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const CANARY_CHARACTERS = 36;

/** Random numbers that a seed repeats: a SHA-256 counter. Not for keys. */
export interface SeededRandom {
  /** A whole number from 0 to `below` - 1. */
  readonly integer: (below: number) => number;
}

/** Makes a source of numbers from a seed. */
export function createSeededRandom(seed: number): SeededRandom {
  let counter = 0;
  return {
    integer: (below) => {
      counter += 1;
      return createHash('sha256').update(`${seed}:${counter}`).digest().readUInt32BE(0) % below;
    },
  };
}

/** A value that a gate is given as its credential: letters and digits, so that every location can carry it. */
export function createCanary(random: SeededRandom): string {
  const letters = Array.from({ length: CANARY_CHARACTERS }, () => ALPHABET[random.integer(ALPHABET.length)]);
  return `gnt_${letters.join('')}`;
}

/** The three runs of base64 characters of which one occurs wherever `value` lies inside base64 text. */
function base64Alignments(value: Buffer): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), value]).toString('base64');
    return encoded.slice([0, 2, 3][shift], Math.floor(((shift + value.length) * 8) / 6));
  });
}

function unescapePercent(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function unescapeJson(text: string): string {
  return text
    .replace(/\\u00([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/\\(["\\/])/g, '$1');
}

function unescapeEntities(text: string): string {
  return text.replace(/&#(?:x([0-9a-f]{1,4})|([0-9]{1,5}));/gi, (_, hex: string | undefined, decimal: string) =>
    String.fromCharCode(hex === undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16)),
  );
}

/** The names of the forms in which `data` holds `value`; empty when it does not. */
export function findForms(value: string, data: Buffer): string[] {
  if (value === '') throw new RangeError('an empty value is everywhere');
  const text = data.toString('latin1');
  const bytes = Buffer.from(value);
  const raw = bytes.toString('latin1');
  const forms: string[] = [];
  if (text.includes(raw)) forms.push('raw');
  const standard = text.replaceAll('-', '+').replaceAll('_', '/');
  for (const [shift, run] of base64Alignments(bytes).entries()) {
    if (standard.includes(run)) forms.push(`base64 at alignment ${shift}`);
  }
  if (text.toLowerCase().includes(bytes.toString('hex'))) forms.push('hex');
  for (const order of ['UTF-16LE', 'UTF-16BE'] as const) {
    const wide = Buffer.from(value, 'utf16le');
    if (data.includes(order === 'UTF-16LE' ? wide : wide.swap16())) forms.push(order);
  }
  if (forms.includes('raw')) return forms;
  if (unescapePercent(text).includes(raw)) forms.push('percent-encoded');
  if (unescapeJson(text).includes(raw)) forms.push('JSON-escaped');
  if (unescapeEntities(text).includes(raw)) forms.push('HTML entities');
  return forms;
}
