import { existsSync } from 'node:fs';
import { createNetworkPolicy, parseNetworkRule, type NetworkPolicy } from '../policy/network-policy.ts';
import type { SandboxSpec } from '../sandbox/backend.ts';
import type { CertificateAuthority } from '../tls/certificate-authority.ts';
import { networkRules, type StoredRule } from '../stores/stored-rule.ts';
import { encodeJks } from '../tls/java-trust-store.ts';
import { decodeCertificates, type UpstreamTrust } from '../tls/upstream-trust.ts';
import { bindCertificate } from './client-key.ts';
import type { RunPlan } from './plan.ts';

const JVM_DIRECTORY = '/usr/lib/jvm';

/** What the network policy of a sandbox is made of. */
export interface PolicySources extends Pick<RunPlan, 'secrets' | 'network'> {
  /** The stored rules that count in it. Default: none. */
  readonly stored?: readonly StoredRule[];
  /** Its name where it lives on, so that people change its rules while it runs. Default null. */
  readonly sandbox?: string | null;
}

/**
 * Compiles the network policy of a sandbox: its rules, what is stored for it, and what its secrets open.
 *
 * @throws SallyportError INVALID_HOST_PATTERN, INVALID_RESOLVE, USAGE.
 */
export function compilePolicy({ secrets, network, stored = [], sandbox = null }: PolicySources): NetworkPolicy {
  const kept = networkRules(stored);
  return createNetworkPolicy({
    sandbox,
    secretHosts: [
      ...secrets.secrets.flatMap((secret) => secret.hosts.map((host) => ({ host, origin: `--secret ${secret.name}` }))),
      ...secrets.services.flatMap(({ name, endpoints }) =>
        endpoints.flatMap(({ hosts }) => hosts.map((host) => ({ host, origin: `service ${name}` }))),
      ),
      ...network.clientCertificates.map(bindCertificate),
    ],
    allow: [...network.allow.map((text) => parseNetworkRule('--allow', text)), ...kept.allow],
    deny: [...network.deny.map((text) => parseNetworkRule('--deny', text)), ...kept.deny],
    tunnel: network.tunnel.map((text) => parseNetworkRule('--tunnel', text)),
    resolve: network.pins,
  });
}

/** What clients in the sandbox are to trust: its own authority, and for Java a store with that and the system's roots. */
export async function makeTrustFiles(
  authority: CertificateAuthority | Promise<CertificateAuthority>,
  trust: UpstreamTrust | Promise<UpstreamTrust>,
): Promise<SandboxSpec['trust']> {
  const [{ certificatePem, certificateDer }, { systemPem }] = await Promise.all([authority, trust]);
  if (!existsSync(JVM_DIRECTORY)) return { caPem: certificatePem };
  return {
    caPem: certificatePem,
    javaTrustStore: encodeJks([certificateDer, ...decodeCertificates(systemPem)], new Date()),
  };
}
