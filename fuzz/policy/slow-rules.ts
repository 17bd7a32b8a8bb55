/**
 * What a canonical pattern covers, read from the documentation alone: slowly, label by label and bit by bit, sharing no code with the
 * matcher that it judges.
 */
export function slowlyCovers(pattern: string, host: string, port: number): boolean {
  const parts = /^(?<name>\[[^\]]*\]|[^:/]+|[^/]+\/\d+)(?::(?<port>\d+))?$/.exec(pattern)?.groups;
  const name = parts?.['name'];
  if (name === undefined) throw new TypeError(`no canonical pattern: ${pattern}`);
  const own = parts?.['port'];
  const isOnPort = own === undefined ? port === 80 || port === 443 : port === Number(own);
  return isOnPort && coversName(name, host);
}

function coversName(name: string, host: string): boolean {
  const address = bitsOf(host);
  const slash = name.indexOf('/');
  if (slash >= 0) {
    const block = bitsOf(name.slice(0, slash).replaceAll(/[[\]]/g, ''));
    if (address === null || block === null || address.length !== block.length) return false;
    const prefix = Number(name.slice(slash + 1));
    return address.slice(0, prefix) === block.slice(0, prefix);
  }
  if (name === '**') return address === null;
  if (!name.startsWith('*')) return name.replaceAll(/[[\]]/g, '') === host;
  if (address !== null) return false;
  const wanted = name.split('.');
  const labels = host.split('.');
  const star = wanted.shift();
  const before = labels.length - wanted.length;
  if (star === '*' ? before !== 1 : before < 1) return false;
  return wanted.every((label, index) => labels[before + index] === label);
}

/** The bits of a canonical address as text; null for a name. */
function bitsOf(host: string): string | null {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) {
    return host
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('');
  }
  if (!host.includes(':')) return null;
  const [front = '', back] = host.split('::');
  const groups = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(':'));
  const left = groups(front);
  const right = groups(back);
  const middle = back === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...middle, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}
