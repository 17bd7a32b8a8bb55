import type { Random } from './random.ts';

/** Follows every generated input, so that a request that swallowed too much or too little shows. */
export const SENTINEL = 'GET /sentinel HTTP/1.1\r\nHost: s\r\n\r\n';

const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'HEAD',
  'PATCH',
  'TRACE',
  'CONNECT',
  'get',
  'BREW',
  'G@T',
  '',
];
const TARGETS = [
  '/',
  '/a?b=c',
  '//x/y',
  '*',
  'http://h/',
  'https://h',
  'h:443',
  'a',
  '/\xe9',
  '/ ',
  '/#f',
  '/\\',
  '/\t',
  '/%00',
  '/[]',
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/0.9',
  'HTTP/2.0',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/01.1',
  'HTTP/1.10',
  'ICE/1.0',
  '',
];
const LINE_ENDS = ['\n', '\r', '\r\r\n', '\n\r', '\r\n ', ' \r\n', '\r\n\t', '\0\r\n', ''];
const NAMES = [
  'Content-Length',
  'Transfer-Encoding',
  'Connection',
  'Host',
  'content-length',
  'TRANSFER-ENCODING',
  'Upgrade',
  'Expect',
  'Trailer',
  'X-A',
];
const ODD_NAMES = [
  'Content-Length ',
  ' Content-Length',
  'Transfer-Encoding\t',
  'Content_Length',
  'Transfer\0Encoding',
  '',
  'X A',
  '\xc3\xa9',
  'A:B',
  '\x0bTE',
  '"x"',
  'x(y)',
];
const LENGTHS = [
  '0',
  '1',
  '3',
  '5',
  '10',
  '37',
  '+3',
  '-1',
  '03',
  '3, 3',
  '3,',
  '0x3',
  '3 ',
  '\t3',
  '3 3',
  '1e1',
  '18446744073709551619',
  '9007199254740993',
  '',
  '3;q',
  '３',
];
const CODINGS = [
  'chunked',
  'Chunked',
  'gzip, chunked',
  'chunked, gzip',
  'identity',
  'chunked, chunked',
  ' chunked',
  'chunked ',
  '\x0bchunked',
  'xchunked',
  'chunked;a',
  '',
  ',chunked',
  'chunked,',
  '"chunked"',
  'chun ked',
  'chunked\0',
];
const VALUES = [
  'a',
  '',
  'a b',
  '\ta\t',
  '\xe9',
  'close',
  'keep-alive',
  'Upgrade',
  'close, x',
  'h2c',
  'websocket',
  '100-continue',
  'a\0b',
  'a\x7fb',
  'a\x01',
  'a\rb',
  'a\nb',
  'a\r\n b',
];
const SIZES = [
  '1',
  '3',
  '5',
  'a',
  'A',
  '0',
  '00',
  '003',
  '0x3',
  '+3',
  '-3',
  ' 3',
  '3 ',
  '3\t',
  '3;',
  '3;a',
  '3;a=b',
  '3;a="b;c"',
  '3;a="\\""',
  '3; a',
  '3 ;a',
  '3;a=',
  '3;\n',
  '3;a\r',
  'g',
  '',
  '3_0',
  'ffffffffffffffff',
  '10000000000000003',
  '0000000000000000003',
];
const PIECES = [
  '\r\n',
  '\r\n\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '0\r\n\r\n',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  'GET / HTTP/1.1\r\n',
  'HTTP/1.1',
  '\x0b',
  '\x0c',
  '\x85',
  '\xa0',
  '\xff',
  '0',
  '3\r\nabc\r\n',
];

/** One connection's bytes: a request that is wrong in few places or none, sometimes mutated, sometimes two, then the sentinel. */
export function generateConnection(random: Random): string {
  let text = '';
  const requests = random.oneIn(4) ? 2 : 1;
  for (let i = 0; i < requests; i++) text += generateRequest(random);
  return mutateSome(random, text) + SENTINEL;
}

function generateRequest(random: Random): string {
  return generateMessage(random, (isOdd, space) => {
    const method = isOdd() ? random.pick(METHODS) : random.pick(['GET', 'POST']);
    const target = isOdd() ? random.pick(TARGETS) : '/a';
    const version = isOdd() ? random.pick(random.oneIn(2) ? ['HTTP/1.0'] : VERSIONS) : 'HTTP/1.1';
    return `${method}${space()}${target}${space()}${version}`;
  });
}

/** One message of which few places are odd. `startLine` is given whether a place is to be odd, and what to put for a space. */
export function generateMessage(
  random: Random,
  startLine: (isOdd: () => boolean, space: () => string) => string,
): string {
  // How seldom a place is odd: with many odd places in each request nearly all would be refused at once.
  const rarity = random.pick([4, 8, 16, 1000]);
  const isOdd = (): boolean => random.oneIn(rarity);
  const lineEnd = (): string => (random.oneIn(rarity * 4) ? random.pick(LINE_ENDS) : '\r\n');

  const space = (): string => (random.oneIn(rarity * 4) ? random.pick(['', '  ', '\t', '\x0b', '\r']) : ' ');
  let head = `${random.oneIn(rarity * 4) ? random.pick(LINE_ENDS) : ''}${startLine(isOdd, space)}${lineEnd()}`;
  const field = (name: string, value: string): string => {
    const colon = random.oneIn(rarity * 2) ? random.pick([':', ' :', '\t:', ' ', ': \t ', ':\0', '::', ';']) : ': ';
    return `${name}${colon}${value}${lineEnd()}`;
  };

  if (!isOdd()) head += field('Host', 'h');
  const kind = random.below(4);
  const content = 'abcdefghij'.slice(0, random.below(11));
  let body = '';
  if (kind === 1) {
    head += field('Content-Length', isOdd() ? random.pick(LENGTHS) : String(content.length));
    body = content;
  } else if (kind === 2) {
    head += field('Transfer-Encoding', isOdd() ? random.pick(CODINGS) : 'chunked');
    body = generateChunks(random, rarity);
  }
  // A second framing field that contradicts the first, or repeats it.
  if (isOdd() && kind !== 0) {
    const isLength = random.oneIn(2);
    head += field(
      isLength ? 'Content-Length' : 'Transfer-Encoding',
      isLength ? String(random.pick([content, body]).length) : 'chunked',
    );
  }
  for (let extra = random.oneIn(2) ? random.below(4) : 0; extra > 0; extra--) {
    const name = isOdd()
      ? random.pick(ODD_NAMES)
      : isOdd()
        ? random.pick(NAMES)
        : random.pick(['X-A', 'x-b', 'Accept', 'Connection']);
    const lower = name.toLowerCase();
    const values = lower.includes('length') ? LENGTHS : lower.includes('encoding') ? CODINGS : VALUES;
    head += field(name, isOdd() ? random.pick(values) : random.pick(['a', '', 'keep-alive']));
  }
  return `${head}${lineEnd()}${body}`;
}

function generateChunks(random: Random, rarity: number): string {
  let text = '';
  for (let count = random.below(4); count > 0; count--) {
    const data = random.pick(['a', 'abc', 'abcde', '\r\n\r', '0123456789', 'abcdefghijklmnopqrstuvwxyz']);
    const size = random.oneIn(rarity) ? random.pick(SIZES) : data.length.toString(16);
    text += `${size}${random.oneIn(rarity * 2) ? random.pick(LINE_ENDS) : '\r\n'}${data}`;
    text += random.oneIn(rarity * 2) ? random.pick(LINE_ENDS) : '\r\n';
  }
  text += random.oneIn(rarity)
    ? random.pick(['0', '00', '0;a', '0 ', '0x0', '-0', '0;a="\r\n"', '', '0000000000000000000000'])
    : '0';
  text += random.oneIn(rarity * 2) ? random.pick(LINE_ENDS) : '\r\n';
  for (let trailers = random.oneIn(3) ? random.below(3) : 0; trailers > 0; trailers--) {
    text += `${random.pick(random.oneIn(rarity) ? ODD_NAMES : NAMES)}: ${random.pick(random.oneIn(rarity) ? VALUES : ['a', '3'])}\r\n`;
  }
  return text + (random.oneIn(rarity * 2) ? random.pick(LINE_ENDS) : '\r\n');
}

/** Mutates one text in three, in up to three places. */
export function mutateSome(random: Random, text: string): string {
  if (!random.oneIn(3)) return text;
  let mutated = text;
  for (let left = 1 + random.below(3); left > 0; left--) mutated = mutate(random, mutated);
  return mutated;
}

function mutate(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const length = 1 + random.below(random.pick([1, 4, 16]));
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + random.pick(PIECES) + text.slice(at);
    case 2:
      return text.slice(0, at) + text.slice(at + length);
    case 3:
      return text.slice(0, at + length) + text.slice(at);
    case 4: {
      const from = random.below(text.length + 1);
      return text.slice(0, at) + text.slice(from, from + length) + text.slice(at);
    }
    default:
      return text.slice(0, at) + random.pick(PIECES) + text.slice(at + 1);
  }
}
