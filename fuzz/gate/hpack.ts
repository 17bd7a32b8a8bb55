import type { Pair } from './http2-wire.ts';

/** How one field is written in a header block (RFC 7541 section 6). */
export type FieldForm = 'indexed' | 'literal' | 'never' | 'incremental';

const FIRST_BYTES: Readonly<Record<Exclude<FieldForm, 'indexed'>, readonly [bits: number, first: number]>> = {
  literal: [4, 0x00],
  never: [4, 0x10],
  incremental: [6, 0x40],
};

/** What the generator needs of the static table (RFC 7541 appendix A); its indices begin at 1. */
const STATIC: Readonly<Record<string, number>> = {
  ':authority': 1,
  ':method GET': 2,
  ':method POST': 3,
  ':path /': 4,
  ':path': 4,
  ':scheme http': 6,
  ':scheme https': 7,
  ':status 200': 8,
  'accept-encoding gzip, deflate': 16,
  authorization: 23,
  'content-length': 28,
  cookie: 32,
  expect: 35,
  host: 38,
  'transfer-encoding': 57,
};
const STATIC_LENGTH = 61;
const SAMPLE_FORMS: readonly FieldForm[] = ['literal', 'never', 'incremental'];

/** Codes of the Huffman code (RFC 7541 appendix B) that all have one length, for characters in order. */
const HUFFMAN = new Map<string, readonly [code: number, bits: number]>();
for (const [bits, first, characters] of [
  [5, 0x00, '012aceiost'],
  [6, 0x14, ' %-./3456789=A_bdfghlmnpru'],
  [7, 0x5c, ':BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz'],
] as const)
  [...characters].forEach((character, index) => HUFFMAN.set(character, [first + index, bits]));

/** An integer with a prefix of some bits (RFC 7541 section 5.1). */
export function hpackInteger(value: number, bits: number, first: number): Buffer {
  const limit = 2 ** bits - 1;
  if (value < limit) return Buffer.of(first | value);
  const bytes = [first | limit];
  let rest = value - limit;
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A string (RFC 7541 section 5.2); one that the table above cannot write stays without Huffman coding. */
export function hpackString(text: string, huffman = false): Buffer {
  const coded = huffman ? encodeHuffman(text) : null;
  const bytes = coded ?? Buffer.from(text, 'latin1');
  return Buffer.concat([hpackInteger(bytes.length, 7, coded === null ? 0 : 0x80), bytes]);
}

function encodeHuffman(text: string): Buffer | null {
  let bits = '';
  for (const character of text) {
    const code = HUFFMAN.get(character);
    if (code === undefined) return null;
    bits += code[0].toString(2).padStart(code[1], '0');
  }
  while (bits.length % 8 !== 0) bits += '1';
  return Buffer.from(bits.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? []);
}

/** Writes header blocks, with the dynamic table that their reader comes to have. */
export class HpackWriter {
  readonly #dynamic: string[] = [];

  /** One field; where a table has no entry for it, `indexed` becomes a literal. */
  field([name, value]: Pair, form: FieldForm, huffman: boolean): Buffer {
    const whole = STATIC[`${name} ${value}`] ?? this.#indexOf(`${name} ${value}`);
    if (form === 'indexed' && whole !== null) return hpackInteger(whole, 7, 0x80);
    const written = form === 'indexed' ? 'literal' : form;
    const [bits, first] = FIRST_BYTES[written];
    const known = huffman ? (STATIC[name] ?? 0) : 0;
    const head = hpackInteger(known, bits, first);
    if (written === 'incremental') this.#dynamic.unshift(`${name} ${value}`);
    return Buffer.concat([head, ...(known === 0 ? [hpackString(name, huffman)] : []), hpackString(value, huffman)]);
  }

  #indexOf(text: string): number | null {
    const index = this.#dynamic.indexOf(text);
    return index < 0 ? null : STATIC_LENGTH + 1 + index;
  }
}

/** A block of literals in all forms in turn, without Huffman coding and without tables. */
export function literalBlock(fields: readonly Pair[]): Buffer {
  const writer = new HpackWriter();
  return Buffer.concat(
    fields.map((field, index) => writer.field(field, SAMPLE_FORMS[index % SAMPLE_FORMS.length]!, false)),
  );
}
