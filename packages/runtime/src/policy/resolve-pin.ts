import { SallyportError } from '@sallyport/sdk';
import { canonicalHost, formatHost, isAddress, parsePort, readHost } from './host-name.ts';
import { quote } from './quoted-text.ts';

/** `--resolve HOST:PORT:ADDR[:PORT]`: dial this address for that host and port. Name and certificate checks stay. */
export interface ResolvePin {
  /** Canonical. */
  readonly host: string;
  readonly port: number;
  /** Canonical address without brackets. */
  readonly address: string;
  /** The port to dial; `port` where the pin names none. */
  readonly addressPort: number;
}

/** Splits at colons outside brackets; more than four parts are cut off by the caller's check. */
function splitParts(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let inBrackets = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === '[') inBrackets = true;
    else if (character === ']') inBrackets = false;
    else if (character === ':' && !inBrackets) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function readParts(text: string): ResolvePin | string {
  const parts = splitParts(text);
  const [hostText = '', portText = '', addressText = '', addressPortText] = parts;
  if (parts.length < 3 || parts.length > 4) return 'it does not have three or four parts';
  const host = readHost(hostText);
  if ('problem' in host) return `the host ${host.problem}`;
  const port = parsePort(portText);
  if (port === null) return 'the first port is no number from 1 to 65535';
  const address = canonicalHost(addressText);
  if (address === null || !isAddress(address)) return 'the third part is no IP address';
  const addressPort = addressPortText === undefined ? port : parsePort(addressPortText);
  if (addressPort === null) return 'the second port is no number from 1 to 65535';
  return { host: host.host, port, address, addressPort };
}

/**
 * Reads `HOST:PORT:ADDR[:PORT]`, IPv6 in brackets.
 *
 * @throws SallyportError INVALID_RESOLVE, naming the part that is wrong.
 */
export function parseResolve(text: string): ResolvePin {
  const pin = readParts(text);
  if (typeof pin !== 'string') return pin;
  throw new SallyportError(
    'INVALID_RESOLVE',
    `--resolve ${quote(text)}: ${pin}. Write HOST:PORT:ADDR or HOST:PORT:ADDR:PORT, with IPv6 in brackets.`,
  );
}

/** Prints a pin with all four parts; parsing that gives the pin again. */
export function formatResolve(pin: ResolvePin): string {
  return `${formatHost(pin.host)}:${pin.port}:${formatHost(pin.address)}:${pin.addressPort}`;
}
