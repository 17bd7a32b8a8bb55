import { z } from 'zod';
import { hostPath, moment, sandboxName } from './fields.ts';

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

/** Sets of rules, `docs/policy-presets.md`. */
export const PRESETS = ['locked', 'balanced', 'open'] as const;

const method = z.string().min(1).max(32);
const pathGlob = z.string().min(1).max(512);

/** A rule that is stored, for one sandbox or for all. */
export const storedRuleSchema = z
  .strictObject({
    /** Null: for all sandboxes. */
    sandbox: z.string().nullable(),
    action: z.enum(RULE_ACTIONS),
    host: z.string(),
    /** Empty: any. */
    methods: z.array(z.string()),
    /** A glob; null: any. */
    path: z.string().nullable(),
    /** The preset that it is of; null for one that people made. */
    preset: z.string().nullable(),
    createdAt: moment,
  })
  .meta({ id: 'StoredRule' });

/** Stores a rule for each host. */
export const storedRulesAddSchema = z
  .strictObject({
    action: z.enum(RULE_ACTIONS),
    /** As `policy allow network` takes them: `HOST[:PORT]`, `*.name`, `**.name`, `**`, an address or a CIDR range. */
    hosts: z.array(host).min(1).max(1024),
    /** The requests that it is for; left out or empty: all. Their host's TLS is opened. */
    methods: z.array(method).max(64).optional(),
    /** A glob of paths, such as `/repos/**`; left out: all. */
    path: pathGlob.optional(),
    /** The sandbox that it is for, which need not exist. Default: all. */
    sandbox: sandboxName.optional(),
  })
  .meta({ id: 'StoredRulesAdd' });

/** Stored rules, and what people should know about them. */
export const storedRuleListSchema = z
  .strictObject({ rules: z.array(storedRuleSchema), notices: z.array(z.string()) })
  .meta({ id: 'StoredRuleList' });

export const storedRulesResetSchema = z
  .strictObject({
    /** Default: those of all. */
    sandbox: sandboxName.optional(),
  })
  .meta({ id: 'StoredRulesReset' });

export const presetChoiceSchema = z.strictObject({ preset: z.enum(PRESETS) }).meta({ id: 'PresetChoice' });

/** The whole network policy of a sandbox, with what its secrets open. */
export const policySchema = z
  .strictObject({
    allow: z.array(z.string()),
    deny: z.array(z.string()),
    tunnel: z.array(z.string()),
    resolve: z.record(z.string(), z.string()),
    /** Hosts that a secret is bound to, which are allowed by that. */
    secretHosts: z.array(z.strictObject({ host: z.string(), secret: z.string() })),
    /** Rules that are stored for it or for all sandboxes. */
    stored: z.array(storedRuleSchema),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Policy' });

export type Network = z.input<typeof networkSchema>;
export type PolicyRule = z.infer<typeof policyRuleSchema>;
export type StoredRule = z.infer<typeof storedRuleSchema>;
export type StoredRulesAdd = z.input<typeof storedRulesAddSchema>;
export type StoredRuleList = z.infer<typeof storedRuleListSchema>;
export type PresetChoice = z.input<typeof presetChoiceSchema>;
export type Policy = z.infer<typeof policySchema>;
