import type { Random } from '../http1/random.ts';

const LABELS = ['a', 'api', 'example', 'xn--bcher-kva', 'b-c', '_tcp', '1', 'x1', 'test'];
const ODD_LABELS = [
  '',
  '-a',
  'a-',
  'A',
  'bücher',
  'K',
  '０',
  '。',
  'а',
  '*',
  'a*',
  ' ',
  '\0',
  '%61',
  'ß',
  'x'.repeat(64),
  '0x7f',
  '١',
  '\u200d',
  'xn--',
  'xn--a',
];
const ENDS = ['test', 'example', 'example.com', 'co.uk', 'com', 'github.io'];
const ADDRESSES = [
  '10.0.0.1',
  '127.0.0.1',
  '192.0.2.7',
  '0177.0.0.1',
  '127.1',
  '2130706433',
  '0x7f.0.0.1',
  '1.2.3.4.',
  '256.1.1.1',
  '[::1]',
  '::1',
  '[fd00::2]',
  '[::ffff:10.0.0.1]',
  '[2001:DB8::0:1]',
  '[fe80::1%eth0]',
  '[::1',
  '1::',
  '010.0.0.1',
];
const BLOCKS = [
  '10.0.0.0/8',
  '10.0.0.0/31',
  '0.0.0.0/0',
  '192.0.2.0/24',
  '10.0.0.1/8',
  '::/0',
  'fd00::/8',
  '2001:db8::/32',
  '::ffff:10.0.0.0/104',
  '10.0.0.0/33',
  '10.0.0.0/08',
];

function randomName(random: Random): string {
  const labels: string[] = [];
  for (let left = random.below(3); left > 0; left -= 1)
    labels.push(random.pick(random.oneIn(12) ? ODD_LABELS : LABELS));
  labels.push(random.pick(ENDS));
  let name = labels.join('.');
  if (random.oneIn(12)) name += random.pick(['.', '..', '\0', ' ', ':', '%', '/', '@x', '\u3002']);
  if (random.oneIn(8)) name = name.toUpperCase();
  return name;
}

/** A host as somebody might write it, now and then wrong. */
export function randomHost(random: Random): string {
  return random.oneIn(4) ? random.pick(ADDRESSES) : randomName(random);
}

/** A host pattern as somebody might write it, now and then wrong. */
export function randomPattern(random: Random): string {
  const port = random.oneIn(3) ? `:${random.pick(['80', '443', '8443', '22', '0', '65536', '08', '', '65535'])}` : '';
  switch (random.below(8)) {
    case 0:
      return random.pick(BLOCKS) + port;
    case 1:
      return random.pick(ADDRESSES) + port;
    case 2:
      return `${random.pick(['**', '**', '*', '***', 'a*'])}${port}`;
    case 3:
    case 4:
      return `*.${randomName(random)}${port}`;
    case 5:
      return `**.${randomName(random)}${port}`;
    default:
      return randomName(random) + port;
  }
}

/** A host, half the time one that a pattern of the list may cover. */
export function hostNear(random: Random, patterns: readonly string[]): string {
  if (patterns.length === 0 || random.oneIn(2)) return randomHost(random);
  const pattern = random.pick(patterns).replace(/^(?:http:\/\/)?/, '');
  const name = pattern.replace(/:\d*$/, '').replace(/\/\d+$/, '');
  return name.replace(/^\*\*/, random.pick(['a', 'a.b'])).replace(/^\*/, random.pick(['a', 'a.b', 'x']));
}
