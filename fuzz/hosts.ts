/**
 * Fuzz target for host names and host patterns: canonical forms are stable, patterns print what they parse, and the matcher and the
 * index agree with a slow reading of the rules, label by label.
 *
 * `node --conditions=sallyport-source fuzz/hosts.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { HostIndex } from '../packages/runtime/src/policy/host-index.ts';
import { canonicalHost, canonicalWireHost, isAddress } from '../packages/runtime/src/policy/host-name.ts';
import {
  matchesHost,
  namesOverlap,
  readHostPattern,
  type HostPattern,
} from '../packages/runtime/src/policy/host-pattern.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { slowlyCovers } from './policy/slow-rules.ts';
import { hostNear, randomPattern } from './policy/random-hosts.ts';

type Case = { patterns: string[]; hosts: string[]; port: number };

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  return {
    name: 'hosts',
    generate(random) {
      const patterns = Array.from({ length: 1 + random.below(4) }, () => randomPattern(random));
      return {
        patterns,
        hosts: Array.from({ length: 1 + random.below(4) }, () => hostNear(random, patterns)),
        port: random.pick([80, 443, 8443, 22, 65_535]),
      };
    },
    check({ patterns, hosts, port }, note) {
      const parsed: HostPattern[] = [];
      for (const text of patterns) {
        const reading = readHostPattern(text, 'network');
        if (!('pattern' in reading)) continue;
        const { pattern } = reading;
        note('patterns read');
        parsed.push(pattern);
        const again = readHostPattern(pattern.text, 'network');
        if (!('pattern' in again) || JSON.stringify(again.pattern) !== JSON.stringify(pattern))
          return `print of parse is no identity: ${JSON.stringify([text, pattern, again])}`;
      }
      const index = new HostIndex<HostPattern>();
      for (const pattern of parsed) index.add(pattern, pattern);
      for (const text of hosts) {
        const host = canonicalHost(text);
        if (host === null) continue;
        note('hosts read');
        if (canonicalHost(host) !== host) return `canonical twice is another: ${JSON.stringify([text, host])}`;
        const wire = canonicalWireHost(text);
        if (wire !== null && wire !== host) return `the wire form is another: ${JSON.stringify([text, host, wire])}`;
        // oxlint-disable-next-line no-control-regex -- what a canonical host must not hold
        if (!/^[a-z0-9._:-]+$/.test(host) || host.endsWith('.'))
          return `a canonical host is not plain: ${JSON.stringify(host)}`;
        if (!isAddress(host)) {
          if (canonicalHost(`${text}.`) !== host && !text.endsWith('.'))
            return `a trailing dot matters: ${JSON.stringify(text)}`;
          for (const odd of [
            `${host}\0`,
            `\0${host}`,
            `${host} `,
            `${host}%`,
            `a@${host}`,
            `${host}/`,
            `.${host}`,
            `${host}..`,
          ])
            if (canonicalHost(odd) !== null) return `taken for a host: ${JSON.stringify(odd)}`;
        }
        const found = [...index.matching(host)];
        for (const pattern of parsed) {
          const covers = slowlyCovers(pattern.text, host, port);
          if (matchesHost(pattern, host, port) !== covers)
            return `the matcher says ${!covers}: ${JSON.stringify([pattern.text, host, port])}`;
          if (covers) note('matches');
          if (covers && !found.includes(pattern))
            return `the index misses a pattern: ${JSON.stringify([pattern.text, host])}`;
        }
        for (const pattern of found) {
          const own = pattern.port ?? 443;
          if (!slowlyCovers(pattern.text, host, own))
            return `the index finds too much: ${JSON.stringify([pattern.text, host])}`;
        }
        for (const one of parsed) {
          for (const other of parsed) {
            const both =
              slowlyCovers(one.text, host, one.port ?? 443) && slowlyCovers(other.text, host, other.port ?? 443);
            if (both && !namesOverlap(one, other))
              return `said to have no host in common: ${JSON.stringify([one.text, other.text, host])}`;
          }
        }
      }
      return null;
    },
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 20_000);
