/**
 * Fuzz target for the network policy: which hosts, ports and addresses a set of rules opens, against an oracle that reads the rules one
 * by one, and against Node's own block lists for special addresses. Nothing but what a rule allows.
 *
 * `node --conditions=sallyport-source fuzz/network-policy.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net';

import { SallyportError } from '@sallyport/sdk';

import { canonicalHost } from '../packages/runtime/src/policy/host-name.ts';
import {
  createNetworkPolicy,
  decideAddress,
  decideHost,
  parseNetworkRule,
  type NetworkRule,
  type SecretHostRule,
} from '../packages/runtime/src/policy/network-policy.ts';
import { parseSecretSpec } from '../packages/runtime/src/secrets/secret-spec.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { hostNear, randomPattern } from './policy/random-hosts.ts';
import { slowlyCovers } from './policy/slow-rules.ts';

type Case = {
  allow: string[];
  deny: string[];
  tunnel: string[];
  secrets: string[];
  hosts: string[];
  addresses: string[];
  port: number;
};

/** The IANA special-purpose registries, and what embeds or relays IPv4. */
const SPECIAL: readonly string[] = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24',
  '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4',
  '::/96', '::1/128', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16', 'fc00::/7',
  'fe80::/10', 'fec0::/10', 'ff00::/8',
]; // prettier-ignore

const SPECIAL_LISTS = SPECIAL.map((block) => {
  const [address = '', bits = ''] = block.split('/');
  const list = new BlockList();
  list.addSubnet(address, Number(bits), isIPv4(address) ? 'ipv4' : 'ipv6');
  return { list, bits: Number(bits), family: isIPv4(address) ? 'ipv4' : 'ipv6' } as const;
});

const ADDRESSES = [
  '10.0.0.1',
  '127.0.0.1',
  '169.254.169.254',
  '100.64.0.1',
  '93.184.216.34',
  '8.8.8.8',
  '198.18.0.1',
  '0.0.0.0',
  '255.255.255.255',
  '224.0.0.1',
  '172.31.255.255',
  '172.32.0.0',
  '192.168.0.1',
  '::1',
  '::',
  '::7f00:1',
  'fe80::1',
  'fc00::1',
  'fec0::1',
  'ff02::1',
  '64:ff9b::a00:1',
  '2002:a00:1::',
  '2001:db8::1',
  '2606:4700::1',
  '::ffff:10.0.0.1',
  '::ffff:8.8.8.8',
  '2001:0:1::',
];

/** The prefix length of the widest special block around an address; null for a public one. */
function specialBits(address: string): number | null {
  const known = KNOWN_BITS.get(address);
  if (known !== undefined) return known;
  const bits = lookUpBits(address);
  KNOWN_BITS.set(address, bits);
  return bits;
}

const KNOWN_BITS = new Map<string, number | null>();

function lookUpBits(address: string): number | null {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  const family = isIPv6(mapped) ? 'ipv6' : 'ipv4';
  const around = SPECIAL_LISTS.filter((entry) => entry.family === family && entry.list.check(mapped, family));
  return around.length === 0 ? null : Math.min(...around.map(({ bits }) => bits));
}

function readRules(option: '--allow' | '--deny' | '--tunnel', texts: readonly string[]): NetworkRule[] {
  return texts.flatMap((text) => {
    try {
      return [parseNetworkRule(option, text)];
    } catch (error) {
      if (error instanceof SallyportError) return [];
      throw error;
    }
  });
}

function readSecrets(texts: readonly string[]): SecretHostRule[] {
  return texts.flatMap((text) => {
    try {
      const spec = parseSecretSpec(`T@${text}`);
      return spec.kind === 'bound' ? spec.hosts.map((host) => ({ host, origin: `--secret ${text}` })) : [];
    } catch (error) {
      if (error instanceof SallyportError) return [];
      throw error;
    }
  });
}

function check(data: Case, note: (what: string) => void): string | null {
  const { port } = data;
  const allow = readRules('--allow', data.allow);
  const deny = readRules('--deny', data.deny);
  const tunnel = readRules('--tunnel', data.tunnel);
  const secretHosts = readSecrets(data.secrets);
  let policy;
  try {
    policy = createNetworkPolicy({ allow, deny, tunnel, secretHosts });
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'USAGE') throw error;
    note('policies refused for a tunnelled secret');
    return null;
  }
  const onPort = (rules: readonly NetworkRule[], host: string): NetworkRule[] =>
    rules.filter(({ pattern }) => slowlyCovers(pattern.text, host, port));
  const secretsOn = (host: string): SecretHostRule[] =>
    secretHosts.filter(
      ({ host: { pattern, port: own } }) => own === port && slowlyCovers(pattern.text, host, pattern.port ?? 443),
    );
  for (const text of data.hosts) {
    const host = canonicalHost(text) ?? text;
    const verdict = decideHost(policy, host, port);
    const where = JSON.stringify([host, port, verdict]);
    if (canonicalHost(host) !== host) {
      if (verdict.verdict !== 'deny') return `what is no host is allowed: ${where}`;
      continue;
    }
    const secrets = secretsOn(host);
    const tunnelled = onPort(tunnel, host).filter(({ pattern }) => pattern.port !== undefined || port !== 80);
    const named = tunnelled.filter(({ pattern }) => pattern.kind !== 'any');
    const isOpen = secrets.length > 0 || onPort(allow, host).length > 0 || named.length > 0;
    const isAllowed = isOpen && onPort(deny, host).length === 0;
    note(isAllowed ? 'allowed' : 'denied');
    if ((verdict.verdict === 'allow') !== isAllowed) return `the oracle says allowed=${isAllowed}: ${where}`;
    if (verdict.verdict !== 'allow') continue;
    const isTunnel = secrets.length === 0 && port !== 80 && tunnelled.length > 0;
    if (verdict.tunnel !== isTunnel) return `the oracle says tunnel=${isTunnel}: ${where}`;
    const protocol =
      secrets.length > 0
        ? secrets.some((rule) => rule.host.scheme === 'https')
          ? 'tls'
          : 'http'
        : port === 443 || isTunnel
          ? 'tls'
          : port === 80
            ? 'http'
            : 'tcp';
    if (verdict.protocol !== protocol) return `the oracle says ${protocol}: ${where}`;
  }
  const host = canonicalHost(data.hosts[0] ?? '') ?? 'x.example';
  for (const address of data.addresses) {
    const verdict = decideAddress(policy, host, port, address);
    const where = JSON.stringify([host, port, address, verdict]);
    const plain = canonicalHost(address);
    if (plain === null) {
      if (verdict.verdict !== 'deny') return `what is no address may be dialled: ${where}`;
      continue;
    }
    const bits = specialBits(address);
    const isDenied = onPort(deny, plain).length > 0;
    const naming = onPort([...allow, ...tunnel], plain).filter(({ pattern }) => {
      const prefix = pattern.kind === 'network' ? pattern.block.prefixBits : 128;
      return pattern.kind !== 'any' && prefix >= (bits ?? 0);
    });
    const isLiteral = host === plain && secretsOn(host).length > 0;
    note(bits === null ? 'public addresses' : 'special addresses');
    if (isDenied && verdict.verdict === 'allow') return `a denied address may be dialled: ${where}`;
    if (bits !== null && verdict.verdict === 'allow' && naming.length === 0 && !isLiteral)
      return `a special address that no rule names may be dialled: ${where}`;
    if (bits === null && !isDenied && verdict.verdict === 'deny')
      return `a public address may not be dialled: ${where}`;
  }
  return null;
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  return {
    name: 'network-policy',
    generate(random) {
      const some = (count: number): string[] =>
        Array.from({ length: random.below(count) }, () => randomPattern(random));
      const allow = some(4);
      const deny = some(3);
      const tunnel = random.oneIn(2) ? some(2) : [];
      const secrets = some(3).map((text) => (random.oneIn(4) ? `http://${text}` : text));
      const all = [...allow, ...deny, ...tunnel, ...secrets];
      return {
        allow,
        deny,
        tunnel,
        secrets,
        hosts: Array.from({ length: 4 }, () => hostNear(random, all)),
        addresses: Array.from({ length: 3 }, () => random.pick(ADDRESSES)),
        port: random.pick([80, 443, 8443, 22, 65_535]),
      };
    },
    check,
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 20_000);
