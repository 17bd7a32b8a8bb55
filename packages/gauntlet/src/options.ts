import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Need } from './attack.ts';
import type { ServerName } from './upstreams.ts';

/** Wrong use of the command line: exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A host and a port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What the command line asks for. */
export interface GauntletOptions {
  readonly start?: string | undefined;
  readonly proxy?: Address | undefined;
  readonly transparent: boolean;
  readonly addresses: ReadonlyMap<string, Address>;
  /** PEM. */
  readonly ca?: string | undefined;
  /** Read again when the gate has started: some make their CA then. */
  readonly caFile?: string | undefined;
  readonly placeholder?: string | undefined;
  readonly placeholderVariable?: string | undefined;
  readonly value?: string | undefined;
  readonly secondPlaceholder?: string | undefined;
  readonly secondPlaceholderVariable?: string | undefined;
  readonly secondValue?: string | undefined;
  readonly bound: string;
  readonly unbound: string;
  readonly ports: Partial<Record<ServerName, number>>;
  readonly upstreamCaFile?: string | undefined;
  readonly without: ReadonlySet<Need>;
  readonly only: readonly string[];
  readonly seed: number;
  readonly clientNode: string;
  readonly json?: string | undefined;
  readonly junit?: string | undefined;
  readonly quiet: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

/** What `--help` prints. */
export const HELP = `Usage: gauntlet [options]

Attacks a credential gate and reports what leaked. The suite runs two pairs of servers on 127.0.0.1 (the bound host's and
the unbound host's, each by TLS and in clear), lets its client half send through the gate, and looks for the value in what
the wrong server, or the client, received.

The gate, one of:
  --start COMMAND        a shell command. With {} in it, the client half is put there: for gates that run a program
                         ("sandbox run -- {}"). Without, it starts a gate that --proxy or --transparent leads to
  --proxy URL            http://HOST:PORT of a CONNECT proxy
  --transparent          connect where --connect says, as if the gate had taken the connection
  --connect MAP          HOST:PORT:ADDRESS:PORT, may be repeated

The credential:
  --placeholder TEXT     what the client sends; or --placeholder-env VAR: what this variable holds where the client runs
  --value TEXT           the value behind it; or --value-env VAR. Default: a random one in $GAUNTLET_VALUE
  --second-placeholder TEXT, or --second-placeholder-env VAR   of another secret, bound to the unbound host
  --second-value TEXT    its value. Default: a random one in $GAUNTLET_SECOND_VALUE
  --bound HOST           the host that the value is bound to (default: api.key-service.example)
  --unbound HOST         one that the gate allows, but does not bind (default: other.example)
  --without FEATURE      redaction, sandbox or second-secret: the gate has none, do not count it as a failure

The rest:
  --ca FILE              the root that the gate's certificates come from
  --client-node PROGRAM  Node 18 or newer for the client half (default: node in a sandbox, else this one)
  --bound-tls-port, --bound-port, --unbound-tls-port, --unbound-port PORT   of the servers (default: any)
  --upstream-ca FILE     where to write the servers' root; default: a new file, in $GAUNTLET_CA
  --only ID              an attack or a category, may be repeated; the controls always run
  --seed NUMBER          for what is random (default: a random one, printed)
  --json FILE, --junit FILE   write reports
  --list                 print the attacks
  --quiet                print what did not pass, and the summary

COMMAND finds GAUNTLET_VALUE, GAUNTLET_BOUND, GAUNTLET_UNBOUND, GAUNTLET_CA, GAUNTLET_BOUND_TLS_PORT, GAUNTLET_BOUND_PORT,
GAUNTLET_UNBOUND_TLS_PORT and GAUNTLET_UNBOUND_PORT in its environment.

Exit status: 0 nothing leaked, 1 something did, 2 wrong use, 3 inconclusive: a positive control failed.
`;

const NEEDS: readonly Need[] = ['redaction', 'sandbox', 'second-secret'];
const DEFAULT_BOUND = 'api.key-service.example';
const DEFAULT_UNBOUND = 'other.example';

function readPort(text: string, option: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535) {
    throw new UsageError(`${option} takes a port from 1 to 65535, not ${JSON.stringify(text)}`);
  }
  return port;
}

function readHost(text: string, option: string): string {
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(text) || !text.includes('.')) {
    throw new UsageError(`${option} takes a host name in lower case with a dot in it, not ${JSON.stringify(text)}`);
  }
  return text;
}

function readProxy(text: string): Address {
  const match = /^http:\/\/([^/:]+|\[[0-9a-f:]+\]):([0-9]+)\/?$/.exec(text);
  if (match === null) throw new UsageError(`--proxy takes http://HOST:PORT, not ${JSON.stringify(text)}`);
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port: readPort(match[2]!, '--proxy') };
}

function readConnect(text: string): [string, Address] {
  const match = /^([^:]+):([0-9]+):([^:]+|\[[0-9a-f:]+\]):([0-9]+)$/.exec(text);
  if (match === null) throw new UsageError(`--connect takes HOST:PORT:ADDRESS:PORT, not ${JSON.stringify(text)}`);
  const [, host, port = '', address = '', addressPort = ''] = match;
  readPort(port, '--connect');
  return [
    `${host}:${Number(port)}`,
    { host: address.replace(/^\[|\]$/g, ''), port: readPort(addressPort, '--connect') },
  ];
}

function readFeature(text: string): Need {
  const need = NEEDS.find((one) => one === text);
  if (need === undefined) throw new UsageError(`--without takes ${NEEDS.join(', ')}, not ${JSON.stringify(text)}`);
  return need;
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new UsageError(`--ca: ${JSON.stringify(file)} cannot be read`, { cause });
  }
}

const TEXT = { type: 'string' } as const;
const LIST = { type: 'string', multiple: true } as const;
const FLAG = { type: 'boolean' } as const;

const OPTIONS = {
  start: TEXT, proxy: TEXT, transparent: FLAG, connect: LIST, ca: TEXT, placeholder: TEXT, 'placeholder-env': TEXT, value: TEXT, 'value-env': TEXT,
  'second-placeholder': TEXT, 'second-placeholder-env': TEXT, 'second-value': TEXT, bound: TEXT, unbound: TEXT, without: LIST, 'client-node': TEXT, 'bound-tls-port': TEXT,
  'bound-port': TEXT, 'unbound-tls-port': TEXT, 'unbound-port': TEXT, 'upstream-ca': TEXT, only: LIST, seed: TEXT, json: TEXT, junit: TEXT,
  list: FLAG, quiet: FLAG, help: { type: 'boolean', short: 'h' },
} as const; // prettier-ignore

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true, allowPositionals: false }).values;
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/**
 * Reads the command line.
 *
 * @throws UsageError for what is wrong, missing or at odds.
 */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  randomSeed: number,
): GauntletOptions {
  const values = parse(args);
  const valueVariable = values['value-env'];
  const value = valueVariable === undefined ? values.value : env[valueVariable];
  if (valueVariable !== undefined && value === undefined)
    throw new UsageError(`--value-env: ${valueVariable} is not set`);
  if (value !== undefined && value.length < 16)
    throw new UsageError('the value needs 16 characters or more, to be told from chance');
  const seed = values.seed === undefined ? randomSeed : Number(values.seed);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError('--seed takes a whole number');
  const secondPlaceholder = values['second-placeholder'];
  const secondPlaceholderVariable = values['second-placeholder-env'];
  const hasSecond = secondPlaceholder !== undefined || secondPlaceholderVariable !== undefined;
  const ports: Partial<Record<ServerName, number>> = {};
  for (const [server, option] of [
    ['bound-tls', 'bound-tls-port'],
    ['bound-clear', 'bound-port'],
    ['unbound-tls', 'unbound-tls-port'],
    ['unbound-clear', 'unbound-port'],
  ] as const) {
    const port = values[option];
    if (port !== undefined) ports[server] = readPort(port, `--${option}`);
  }
  const addresses = new Map((values.connect ?? []).map(readConnect));
  const isWrapped = values.start?.includes('{}') === true;
  const transparent = values.transparent === true;
  const options: GauntletOptions = {
    start: values.start,
    proxy: values.proxy === undefined ? undefined : readProxy(values.proxy),
    transparent,
    addresses,
    // Of a gate that is started here the file may come later.
    ca: values.ca === undefined || values.start !== undefined ? undefined : readCa(values.ca),
    caFile: values.ca,
    placeholder: values.placeholder,
    placeholderVariable: values['placeholder-env'],
    value,
    secondPlaceholder,
    secondPlaceholderVariable,
    secondValue: values['second-value'],
    bound: readHost(values.bound ?? DEFAULT_BOUND, '--bound'),
    unbound: readHost(values.unbound ?? DEFAULT_UNBOUND, '--unbound'),
    ports,
    upstreamCaFile: values['upstream-ca'],
    without: new Set([
      ...(values.without ?? []).map(readFeature),
      ...(isWrapped ? [] : (['sandbox'] as const)),
      ...(!hasSecond ? (['second-secret'] as const) : []),
    ]),
    only: values.only ?? [],
    seed,
    clientNode: values['client-node'] ?? (isWrapped ? 'node' : process.execPath),
    json: values.json,
    junit: values.junit,
    quiet: values.quiet === true,
    list: values.list === true,
    help: values.help === true,
  };
  if (!options.help && !options.list) checkReach(options, isWrapped);
  return options;
}

function checkReach(options: GauntletOptions, isWrapped: boolean): void {
  const ways = [isWrapped, options.proxy !== undefined, options.transparent].filter(Boolean).length;
  if (ways !== 1) throw new UsageError('say how to reach the gate: --start with {}, or --proxy, or --transparent');
  if (options.transparent !== options.addresses.size > 0)
    throw new UsageError('--transparent and --connect go together');
  if ((options.placeholder === undefined) === (options.placeholderVariable === undefined)) {
    throw new UsageError('give the placeholder: --placeholder or --placeholder-env');
  }
}
