import { z } from 'zod';
import { environmentName, moment } from './fields.ts';

/** The name of a secret: what audit events and commands call it. */
export const secretName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, 'A secret name has letters, digits, "_", "." and "-"');

const host = z.string().min(1).max(300);
const hosts = z.array(host).max(256);

/** What the gate does with a placeholder on its way to a host (or by a method, or on a path) that it is not for. Default: `pass`. */
export const ON_VIOLATION = ['pass', 'block', 'terminate'] as const;

const binding = {
  /** Exact hosts: `api.example.com`, `api.example.com:8443`, `http://internal.example` for cleartext. */
  allowHosts: hosts.optional(),
  /** `*.example.com` is one label, `**.example.com` any depth. */
  allowHostPatterns: hosts.optional(),
  /** `header`, `header:NAME`, `basic`, `query`, `path`, `body`, `websocket`. Default: `header` and `basic`. */
  locations: z.array(z.string().max(128)).max(32).optional(),
  /** What the sandbox sees instead; `{rand}` becomes 22 random characters. Default: `sp_NAME_` and those. */
  placeholder: z.string().max(512).optional(),
  /** The methods that it is for. Default: any. */
  methods: z.array(z.string().min(1).max(64)).max(64).optional(),
  /** The paths that it is for, a glob. Default: any. */
  path: z.string().min(1).max(1024).nullable().optional(),
  onViolation: z.enum(ON_VIOLATION).optional(),
};

/** The value of a secret on its way in; no answer of the API ever has one. */
const value = z.string().max(32_768).meta({ writeOnly: true });

/** A secret with its value, bound to hosts. At least one host or pattern. */
export const valueSecretSchema = z
  .strictObject({
    source: z.literal('value'),
    /** The environment variable that holds the placeholder. */
    env: environmentName,
    /** What audit events call it. Default: `env`. */
    name: secretName.optional(),
    value,
    ...binding,
  })
  .meta({ id: 'ValueSecret' });

/** A secret of the daemon's store, by name. */
export const storedSecretSchema = z
  .strictObject({
    source: z.literal('store'),
    name: secretName,
    /** Default: the name. */
    env: environmentName.optional(),
  })
  .meta({ id: 'StoredSecret' });

/** A service of the catalogue, with a value for this sandbox alone. A stored one of that name goes before it. */
export const serviceSecretSchema = z
  .strictObject({
    source: z.literal('service'),
    service: z.string().min(1).max(64),
    /** The key; for `aws`: `ID:SECRET[:SESSION_TOKEN]`. */
    value,
  })
  .meta({ id: 'ServiceSecret' });

export const secretSpecSchema = z
  .discriminatedUnion('source', [valueSecretSchema, storedSecretSchema, serviceSecretSchema])
  .meta({ id: 'SecretSpec' });

/** Sets, changes or rotates a secret of one sandbox. What is left out stays as it is; a new secret needs hosts. */
export const secretUpdateSchema = z
  .strictObject({ env: environmentName.optional(), value: value.optional(), ...binding })
  .meta({ id: 'SecretUpdate' });

/** A secret as the API shows it: never the value. */
export const secretInfoSchema = z
  .strictObject({
    name: secretName,
    env: environmentName,
    placeholder: z.string(),
    hosts: z.array(z.string()),
    locations: z.array(z.string()),
    /** False when the daemon has lost the value (set it again; until then the gate is closed), or could not get at it yet. */
    available: z.boolean(),
    /** Whose it is: the sandbox's own, or one that is stored for it or for all, or that came from its caller's environment. */
    origin: z.enum(['own', 'sandbox', 'global', 'environment']),
    kind: z.enum(['custom', 'service', 'plain']),
    updatedAt: moment,
  })
  .meta({ id: 'SecretInfo' });

export const secretListSchema = z.strictObject({ secrets: z.array(secretInfoSchema) }).meta({ id: 'SecretList' });

export type SecretSpec = z.input<typeof secretSpecSchema>;
export type ValueSecret = z.input<typeof valueSecretSchema>;
export type StoredSecret = z.input<typeof storedSecretSchema>;
export type ServiceSecret = z.input<typeof serviceSecretSchema>;
export type SecretUpdate = z.input<typeof secretUpdateSchema>;
export type SecretInfo = z.infer<typeof secretInfoSchema>;
