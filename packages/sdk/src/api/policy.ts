import { z } from 'zod';
import { hostPath } from './fields.ts';

const host = z.string().min(1).max(300);
const hosts = z.array(host).max(4096);

/** What the sandbox may reach, in the words of `run`'s options. */
export const networkSchema = z
  .strictObject({
    /** As `--allow`: `HOST[:PORT]`, `*.name`, `**.name`, an address or a CIDR range. */
    allow: hosts.optional(),
    /** As `--deny`; wins over everything else. */
    deny: hosts.optional(),
    /** As `--tunnel`: allowed, and its TLS is not intercepted. */
    tunnel: hosts.optional(),
    /** As `--resolve`: `{"host:port": "address:port"}`; the port of the address may be left out. */
    resolve: z.record(host, host).optional(),
    /** As `--upstream-ca`: PEM files on the daemon's machine. */
    upstreamCa: z.array(hostPath).max(64).optional(),
    /** As `--client-cert`: what the gate shows a host that asks who it is. The key may be in the certificate's file. */
    clientCertificates: z
      .array(z.strictObject({ host, certificate: hostPath, key: hostPath.optional() }))
      .max(256)
      .optional(),
  })
  .meta({ id: 'Network' });

export const RULE_ACTIONS = ['allow', 'deny'] as const;

/** One rule of a sandbox's network policy. */
export const policyRuleSchema = z.strictObject({ action: z.enum(RULE_ACTIONS), host }).meta({ id: 'PolicyRule' });

/** The whole network policy of a sandbox, with what its secrets open. */
export const policySchema = z
  .strictObject({
    allow: z.array(z.string()),
    deny: z.array(z.string()),
    tunnel: z.array(z.string()),
    resolve: z.record(z.string(), z.string()),
    /** Hosts that a secret is bound to, which are allowed by that. */
    secretHosts: z.array(z.strictObject({ host: z.string(), secret: z.string() })),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Policy' });

export type Network = z.input<typeof networkSchema>;
export type PolicyRule = z.infer<typeof policyRuleSchema>;
export type Policy = z.infer<typeof policySchema>;
