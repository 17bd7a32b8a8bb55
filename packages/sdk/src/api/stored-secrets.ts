import { z } from 'zod';
import { environmentName, flagParameter, moment, sandboxName, text } from './fields.ts';
import { ON_VIOLATION, secretName } from './secrets.ts';

/** The most bytes of a stored value. */
export const MAX_STORED_VALUE_BYTES = 65_536;

/** Where secrets can be kept: `auto` is the keychain where there is one, else encrypted files. */
export const STORE_KINDS = ['keychain', 'file', 'memory'] as const;
export const STORE_SETTINGS = ['auto', ...STORE_KINDS] as const;

const host = z.string().min(1).max(300);

/** The value on its way in; no answer of the API ever has one. */
const value = z
  .string()
  .max(MAX_STORED_VALUE_BYTES)
  .refine((given) => new TextEncoder().encode(given).length <= MAX_STORED_VALUE_BYTES, 'It has more than 64 KiB')
  .meta({ writeOnly: true });

/** Where a value comes from that is not stored itself; asked for when a request needs it. */
const dynamicSource = {
  /** A command for the shell of the daemon's machine; what it prints is the value. */
  command: text.min(1).max(16_384).optional(),
  /** `op://…`, `vault://…`, `aws-sm://…`, `file:…` or `env:…`. */
  reference: text.min(1).max(4096).optional(),
  /** How long a value that was fetched is used, in ms; null: until an upstream refuses it. Default: 5 minutes. */
  refreshMs: z.int().min(1000).max(2_147_483_647).nullable().optional(),
  /** Whether the source is tried before it is stored. Default true. */
  verify: z.boolean().optional(),
  /** Whether a failure tells what the command wrote to its standard error. Default false. */
  showError: z.boolean().optional(),
};

/** Where the value is kept this time. Default: the setting of the daemon. */
const store = z.enum(STORE_SETTINGS).optional();

const serviceChange = z.strictObject({ kind: z.literal('service'), value: value.optional(), ...dynamicSource, store });

const customChange = z.strictObject({
  kind: z.literal('custom'),
  /** The variable that holds the placeholder. Default: the name. */
  env: environmentName.optional(),
  value: value.optional(),
  ...dynamicSource,
  /** As `--host`: `api.example.com`, `*.example.com`, `**.example.com`, `HOST:PORT`, `http://HOST` for cleartext. */
  hosts: z.array(host).min(1).max(256),
  /** Default: `header`, `basic`, `query`, `path` and `body`. */
  locations: z.array(z.string().max(128)).max(32).optional(),
  /** The methods that it is for. Default: any. */
  methods: z.array(z.string().min(1).max(64)).max(64).optional(),
  /** The paths that it is for, a glob. Default: any. */
  path: z.string().min(1).max(1024).nullable().optional(),
  placeholder: z.string().max(512).nullable().optional(),
  onViolation: z.enum(ON_VIOLATION).optional(),
  store,
});

const plainChange = z.strictObject({
  kind: z.literal('plain'),
  /** The variable that holds the value. Default: the name. */
  env: environmentName.optional(),
  value,
  store,
});

/** A secret to store. One of `value`, `command` and `reference`. */
export const storedSecretChangeSchema = z
  .discriminatedUnion('kind', [serviceChange, customChange, plainChange])
  .meta({ id: 'StoredSecretChange' });

/** A stored secret as the API shows it: never the value. */
export const storedSecretInfoSchema = z
  .strictObject({
    /** The sandbox that it is for, by name; null for all. */
    sandbox: z.string().nullable(),
    name: secretName,
    kind: z.enum(['service', 'custom', 'plain']),
    /** The variables of the sandbox. */
    env: z.array(z.string()),
    hosts: z.array(z.string()),
    locations: z.array(z.string()),
    methods: z.array(z.string()),
    path: z.string().nullable(),
    onViolation: z.enum(ON_VIOLATION),
    /** A placeholder of somebody's own design; null for the default. */
    placeholder: z.string().nullable(),
    source: z.enum(['stored', 'command', 'reference']),
    /** The command or the reference; null where the value itself is stored. */
    from: z.string().nullable(),
    refreshMs: z.int().nullable(),
    /** A few characters of the value, to tell it from others; null where the value is not at hand. */
    mask: z.string().nullable(),
    /** Why it is of no use at this moment; null when all is well. For people. */
    problem: z.string().nullable(),
    createdAt: moment,
    updatedAt: moment,
  })
  .meta({ id: 'StoredSecretInfo' });

export const storedSecretListSchema = z
  .strictObject({ secrets: z.array(storedSecretInfoSchema) })
  .meta({ id: 'StoredSecretList' });

/** What became of a change. */
export const storedSecretResultSchema = z
  .strictObject({
    secret: storedSecretInfoSchema,
    /** Whether there was none of that name before. */
    created: z.boolean(),
    /** Sandboxes that run and have it from this moment on. */
    sandboxes: z.array(z.string()),
    /** What people should know: where it is kept, hosts that strangers share, … */
    notices: z.array(z.string()),
  })
  .meta({ id: 'StoredSecretResult' });

/** What a test of a stored secret found. A source that fails is a problem: SOURCE_FAILED. */
export const storedSecretTestSchema = z
  .strictObject({
    secret: storedSecretInfoSchema,
    bytes: z.int().nonnegative(),
    milliseconds: z.number().nonnegative(),
  })
  .meta({ id: 'StoredSecretTest' });

/** How many secrets are gone. */
export const removedSecretsSchema = z.strictObject({ removed: z.int().nonnegative() }).meta({ id: 'RemovedSecrets' });

/** Where the next value is kept. */
export const secretStoreSchema = z
  .strictObject({
    setting: z.enum(STORE_SETTINGS),
    /** What the setting comes to on this machine. */
    kind: z.enum(STORE_KINDS),
    notices: z.array(z.string()),
  })
  .meta({ id: 'SecretStore' });

export const secretStoreChangeSchema = z
  .strictObject({ setting: z.enum(STORE_SETTINGS) })
  .meta({ id: 'SecretStoreChange' });

/** A scope in a query: a sandbox by name, which need not exist; without it, the secrets for all sandboxes. */
export const scopeQuery = z.strictObject({ sandbox: sandboxName.optional() });
/** Which secrets a list has: all, or those of one scope. */
export const scopesQuery = z.strictObject({ sandbox: sandboxName.optional(), global: flagParameter.optional() });

export type StoreSetting = (typeof STORE_SETTINGS)[number];
export type StoredSecretChange = z.input<typeof storedSecretChangeSchema>;
export type StoredSecretInfo = z.infer<typeof storedSecretInfoSchema>;
export type StoredSecretResult = z.infer<typeof storedSecretResultSchema>;
export type StoredSecretTest = z.infer<typeof storedSecretTestSchema>;
export type SecretStoreInfo = z.infer<typeof secretStoreSchema>;
