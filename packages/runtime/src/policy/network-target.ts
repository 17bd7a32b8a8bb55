import { SallyportError } from '@sallyport/sdk';
import { readHost, splitHostAndPort, type HostAndPort } from './host-name.ts';
import { readPort } from './host-pattern.ts';
import { parseAddress, parseBlock } from './ip-address.ts';
import { quote } from './quoted-text.ts';

/** The port of a target that names none. */
const DEFAULT_TARGET_PORT = 443;

const FORM = 'Write one host, HOST or HOST:PORT, as in api.example.com, 192.0.2.7:22 or [2001:db8::1]:8443.';

/** A target, or what is wrong with the text. `problem` never repeats the text. */
type TargetReading = { readonly target: HostAndPort } | { readonly problem: string; readonly fix?: string };

function readTarget(text: string): TargetReading {
  if (text === '') return { problem: 'it is empty' };
  if (text.includes('://')) return { problem: 'it is a URL' };
  if (text.includes('@')) return { problem: 'it has a user part ("@")' };
  if (text.includes('/')) {
    return 'wrong' in parseBlock(text)
      ? { problem: 'it has a path or is a URL ("/")' }
      : { problem: 'it is an address range' };
  }
  const parts = splitHostAndPort(text);
  if (parts === null) {
    return parseAddress(text) === null
      ? { problem: 'it has a colon or a bracket where none may stand' }
      : {
          problem: 'an IPv6 address stands in brackets, or its end could be a port',
          fix: `Write [${text}] or [${text}]:PORT.`,
        };
  }
  const port = readPort(parts.port);
  if ('problem' in port) return port;
  if (parts.host.includes('*')) return { problem: 'a wildcard is no host' };
  const reading = readHost(parts.host);
  if ('problem' in reading) return { problem: `the host ${reading.problem}` };
  return { target: { host: reading.host, port: port.port ?? DEFAULT_TARGET_PORT } };
}

/**
 * Reads the destination of a policy question as a person writes it: `HOST[:PORT]`, 443 without a port, IPv6 in brackets, Unicode
 * converted as in `canonicalHost`.
 *
 * @throws SallyportError INVALID_HOST_PATTERN, naming the part that is wrong.
 */
export function parseNetworkTarget(text: string): HostAndPort {
  const reading = readTarget(text);
  if ('target' in reading) return reading.target;
  throw new SallyportError('INVALID_HOST_PATTERN', `Host ${quote(text)}: ${reading.problem}. ${reading.fix ?? FORM}`);
}
