import { z } from 'zod';
import { daemonStatusSchema, daemonStopSchema, eventSchema, logEntrySchema } from './daemon.ts';
import { execCreateSchema, execEventSchema, execListSchema, execSchema, resizeSchema, signalSchema } from './execs.ts';
import { countParameter, flagParameter, identifier, insidePath, sandboxName } from './fields.ts';
import { directoryCreateSchema, fileEntrySchema, fileListSchema, renameSchema } from './files.ts';
import {
  policyRuleSchema,
  policySchema,
  presetChoiceSchema,
  RULE_ACTIONS,
  storedRuleListSchema,
  storedRulesAddSchema,
  storedRulesResetSchema,
} from './policy.ts';
import { sandboxCreateSchema, sandboxListSchema, sandboxSchema, sandboxStopSchema, statsSchema } from './sandboxes.ts';
import { secretInfoSchema, secretListSchema, secretUpdateSchema } from './secrets.ts';
import {
  removedSecretsSchema,
  scopeQuery,
  scopesQuery,
  secretStoreChangeSchema,
  secretStoreSchema,
  storedSecretChangeSchema,
  storedSecretListSchema,
  storedSecretResultSchema,
  storedSecretTestSchema,
} from './stored-secrets.ts';

/** What an endpoint takes. A body that is missing counts as `{}` where the schema allows that. */
export type RequestBody =
  | { readonly kind: 'json'; readonly schema: z.ZodType }
  /** Bytes, streamed. */
  | { readonly kind: 'binary'; readonly mediaType: string };

/** What an endpoint answers when all is well. Everything else is a problem. */
export type ResponseBody =
  | { readonly kind: 'json'; readonly status: 200 | 201; readonly schema: z.ZodType }
  | { readonly kind: 'none'; readonly status: 204 }
  /** `text/event-stream`, each event's data being JSON of this shape. */
  | { readonly kind: 'events'; readonly status: 200; readonly schema: z.ZodType }
  | { readonly kind: 'binary'; readonly status: 200; readonly mediaType: string };

/** One operation of the API. Parameters of the path stand in braces. */
export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: RequestBody;
  readonly response: ResponseBody;
  /** For `Accept: text/event-stream`, where that is possible beside the above. */
  readonly stream?: Extract<ResponseBody, { kind: 'events' }>;
}

const json = (schema: z.ZodType) => ({ kind: 'json', schema }) as const;
const answer = (schema: z.ZodType, status: 200 | 201 = 200) => ({ kind: 'json', status, schema }) as const;
const events = (schema: z.ZodType) => ({ kind: 'events', status: 200, schema }) as const;
const bytes = { kind: 'binary', mediaType: 'application/octet-stream' } as const;
const archive = { kind: 'binary', mediaType: 'application/x-tar' } as const;
const none = { kind: 'none', status: 204 } as const;

const SANDBOX = '/v1/sandboxes/{sandbox}';
const EXEC = `${SANDBOX}/execs/{exec}`;
const STORED_SECRET = '/v1/secrets/{secret}';
const pathQuery = z.strictObject({ path: insidePath });

/** Every operation, by its id. `{sandbox}` is a name or an id. */
export const ENDPOINTS = {
  getOpenApi: {
    method: 'GET',
    path: '/v1/openapi.json',
    tag: 'daemon',
    summary: 'This description.',
    response: answer(z.record(z.string(), z.unknown())),
  },
  getDaemon: {
    method: 'GET',
    path: '/v1/daemon',
    tag: 'daemon',
    summary: 'What the daemon is and does.',
    response: answer(daemonStatusSchema),
  },
  stopDaemon: {
    method: 'POST',
    path: '/v1/daemon/stop',
    tag: 'daemon',
    summary: 'End the daemon, after the answer.',
    body: json(daemonStopSchema),
    response: answer(daemonStatusSchema),
  },
  streamEvents: {
    method: 'GET',
    path: '/v1/events',
    tag: 'daemon',
    summary: 'What the daemon does: the events after `after`, then, with `follow`, all to come.',
    query: z.strictObject({
      sandbox: z.string().max(64).optional(),
      after: countParameter.optional(),
      follow: flagParameter.optional(),
    }),
    response: events(eventSchema),
  },
  listSandboxes: {
    method: 'GET',
    path: '/v1/sandboxes',
    tag: 'sandboxes',
    summary: 'All sandboxes, the oldest first.',
    response: answer(sandboxListSchema),
  },
  createSandbox: {
    method: 'POST',
    path: '/v1/sandboxes',
    tag: 'sandboxes',
    summary: 'Make a sandbox, and start it. SANDBOX_EXISTS (409) when the name is taken.',
    body: json(sandboxCreateSchema),
    response: answer(sandboxSchema, 201),
  },
  getSandbox: {
    method: 'GET',
    path: SANDBOX,
    tag: 'sandboxes',
    summary: 'One sandbox. SANDBOX_NOT_FOUND (404).',
    response: answer(sandboxSchema),
  },
  removeSandbox: {
    method: 'DELETE',
    path: SANDBOX,
    tag: 'sandboxes',
    summary: 'Remove a sandbox. SANDBOX_RUNNING (409) while it runs, unless forced.',
    query: z.strictObject({ force: flagParameter.optional() }),
    response: none,
  },
  startSandbox: {
    method: 'POST',
    path: `${SANDBOX}/start`,
    tag: 'sandboxes',
    summary: 'Start a sandbox that does not run; one that runs stays as it is.',
    response: answer(sandboxSchema),
  },
  stopSandbox: {
    method: 'POST',
    path: `${SANDBOX}/stop`,
    tag: 'sandboxes',
    summary: 'Close the gate, end all commands, and stop; one that does not run stays as it is.',
    body: json(sandboxStopSchema),
    response: answer(sandboxSchema),
  },
  killSandbox: {
    method: 'POST',
    path: `${SANDBOX}/kill`,
    tag: 'sandboxes',
    summary: 'Stop without waiting for anything inside.',
    response: answer(sandboxSchema),
  },
  waitForSandbox: {
    method: 'GET',
    path: `${SANDBOX}/wait`,
    tag: 'sandboxes',
    summary: 'Answers when the sandbox does not run (any more), or after `timeoutMs`.',
    query: z.strictObject({ timeoutMs: countParameter.optional() }),
    response: answer(sandboxSchema),
  },
  getStats: {
    method: 'GET',
    path: `${SANDBOX}/stats`,
    tag: 'sandboxes',
    summary: 'What it uses. SANDBOX_NOT_RUNNING (409).',
    response: answer(statsSchema),
  },
  streamLogs: {
    method: 'GET',
    path: `${SANDBOX}/logs`,
    tag: 'sandboxes',
    summary:
      'What its commands wrote, the oldest command first; with `follow`, also what they will write. Each event has an `id:`, from which the stream can be taken up again (`Last-Event-ID` or `?after=`).',
    query: z.strictObject({
      exec: identifier.optional(),
      /** Only the last so many pieces of what is there; without effect beside `after`. */
      tail: countParameter.optional(),
      /** Only what comes after the event with this id. */
      after: z.string().max(128).optional(),
      follow: flagParameter.optional(),
    }),
    response: events(logEntrySchema),
  },
  listExecs: {
    method: 'GET',
    path: `${SANDBOX}/execs`,
    tag: 'execs',
    summary: 'Its commands, the oldest first.',
    response: answer(execListSchema),
  },
  createExec: {
    method: 'POST',
    path: `${SANDBOX}/execs`,
    tag: 'execs',
    summary:
      'Run a command. With `Accept: text/event-stream` the answer is its event stream, beginning with `started`.',
    body: json(execCreateSchema),
    response: answer(execSchema, 201),
    stream: events(execEventSchema),
  },
  getExec: {
    method: 'GET',
    path: EXEC,
    tag: 'execs',
    summary: 'One command. EXEC_NOT_FOUND (404).',
    response: answer(execSchema),
  },
  streamExec: {
    method: 'GET',
    path: `${EXEC}/events`,
    tag: 'execs',
    summary: 'Its output from the beginning, or after the event with the id `after`, and its end.',
    query: z.strictObject({ after: z.string().max(64).optional() }),
    response: events(execEventSchema),
  },
  writeStdin: {
    method: 'POST',
    path: `${EXEC}/stdin`,
    tag: 'execs',
    summary:
      'Write to its standard input; as the body comes. EXEC_ENDED (409) when it does not run or has no open input.',
    query: z.strictObject({
      /** Close the input after this. Default true. */
      end: flagParameter.optional(),
    }),
    body: bytes,
    response: none,
  },
  resizeExec: {
    method: 'POST',
    path: `${EXEC}/resize`,
    tag: 'execs',
    summary: 'Change the size of its terminal.',
    body: json(resizeSchema),
    response: none,
  },
  signalExec: {
    method: 'POST',
    path: `${EXEC}/signal`,
    tag: 'execs',
    summary: 'Signal its process group.',
    body: json(signalSchema),
    response: none,
  },
  listSecrets: {
    method: 'GET',
    path: `${SANDBOX}/secrets`,
    tag: 'secrets',
    summary: 'Its secrets, without their values.',
    response: answer(secretListSchema),
  },
  setSecret: {
    method: 'PUT',
    path: `${SANDBOX}/secrets/{secret}`,
    tag: 'secrets',
    summary: 'Set, change or rotate a secret; requests that begin from then on have it.',
    body: json(secretUpdateSchema),
    response: answer(secretInfoSchema),
  },
  removeSecret: {
    method: 'DELETE',
    path: `${SANDBOX}/secrets/{secret}`,
    tag: 'secrets',
    summary:
      'Remove a secret; requests that begin from then on do not have it. Responses stay redacted. SECRET_NOT_FOUND (404).',
    response: none,
  },
  listStoredSecrets: {
    method: 'GET',
    path: '/v1/secrets',
    tag: 'stored secrets',
    summary: 'The stored secrets, without their values: all, or those for one sandbox, or with `global` those for all.',
    query: scopesQuery,
    response: answer(storedSecretListSchema),
  },
  removeStoredSecrets: {
    method: 'DELETE',
    path: '/v1/secrets',
    tag: 'stored secrets',
    summary: 'Remove every secret that is stored for one sandbox, or with `global` for all; without either everything.',
    query: scopesQuery,
    response: answer(removedSecretsSchema),
  },
  putStoredSecret: {
    method: 'PUT',
    path: STORED_SECRET,
    tag: 'stored secrets',
    summary:
      'Store a secret, for one sandbox (which need not exist) or for all. Sandboxes that run have it when this is answered. SECRET_EXISTS (409) where `overwrite` is false.',
    query: z.strictObject({
      ...scopeQuery.shape,
      /** Whether one that is there is replaced. Default true. */
      overwrite: flagParameter.optional(),
    }),
    body: json(storedSecretChangeSchema),
    response: answer(storedSecretResultSchema),
  },
  removeStoredSecret: {
    method: 'DELETE',
    path: STORED_SECRET,
    tag: 'stored secrets',
    summary: 'Remove a stored secret. Sandboxes that run lose it; responses stay redacted. SECRET_NOT_FOUND (404).',
    query: scopeQuery,
    response: none,
  },
  testStoredSecret: {
    method: 'POST',
    path: `${STORED_SECRET}/test`,
    tag: 'stored secrets',
    summary: 'Whether its value can be had. SOURCE_FAILED (502), STORE_LOCKED (423), SECRET_NOT_FOUND (404).',
    query: scopeQuery,
    response: answer(storedSecretTestSchema),
  },
  getSecretStore: {
    method: 'GET',
    path: '/v1/store',
    tag: 'stored secrets',
    summary: 'Where the next value is kept.',
    response: answer(secretStoreSchema),
  },
  setSecretStore: {
    method: 'PUT',
    path: '/v1/store',
    tag: 'stored secrets',
    summary: 'Choose where values are kept from now on. Those that are stored stay where they are.',
    body: json(secretStoreChangeSchema),
    response: answer(secretStoreSchema),
  },
  getPolicy: {
    method: 'GET',
    path: `${SANDBOX}/policy`,
    tag: 'policy',
    summary: 'Its network policy.',
    response: answer(policySchema),
  },
  addRule: {
    method: 'POST',
    path: `${SANDBOX}/policy/rules`,
    tag: 'policy',
    summary: 'Add a rule; requests and connections that begin from then on follow it. One that is there already stays.',
    body: json(policyRuleSchema),
    response: answer(policySchema),
  },
  removeRule: {
    method: 'DELETE',
    path: `${SANDBOX}/policy/rules`,
    tag: 'policy',
    summary: 'Remove a rule, as it is written. RULE_NOT_FOUND (404).',
    query: z.strictObject({ action: z.enum(RULE_ACTIONS), host: z.string().min(1).max(300) }),
    response: answer(policySchema),
  },
  listStoredRules: {
    method: 'GET',
    path: '/v1/policy/rules',
    tag: 'policy',
    summary: 'The stored rules: all, or those that are for one sandbox alone.',
    query: z.strictObject({ sandbox: sandboxName.optional() }),
    response: answer(storedRuleListSchema),
  },
  addStoredRules: {
    method: 'POST',
    path: '/v1/policy/rules',
    tag: 'policy',
    summary:
      'Store rules, all or none, for all sandboxes or for one; those that run follow them when this is answered. Answers with the rules as they are stored.',
    body: json(storedRulesAddSchema),
    response: answer(storedRuleListSchema),
  },
  removeStoredRules: {
    method: 'DELETE',
    path: '/v1/policy/rules',
    tag: 'policy',
    summary: 'Remove every stored rule for a host, as a pattern. Answers with what was removed. RULE_NOT_FOUND (404).',
    query: z.strictObject({
      host: z.string().min(1).max(300),
      /** Default: both. */
      action: z.enum(RULE_ACTIONS).optional(),
      /** Default: the rules for all sandboxes. */
      sandbox: sandboxName.optional(),
    }),
    response: answer(storedRuleListSchema),
  },
  resetStoredRules: {
    method: 'POST',
    path: '/v1/policy/reset',
    tag: 'policy',
    summary:
      'Remove all stored rules, those of presets included, or those for one sandbox. Answers with what was removed.',
    body: json(storedRulesResetSchema),
    response: answer(storedRuleListSchema),
  },
  choosePreset: {
    method: 'PUT',
    path: '/v1/policy/preset',
    tag: 'policy',
    summary: 'Put the rules of a preset in the place of those that another one left. Answers with its rules.',
    body: json(presetChoiceSchema),
    response: answer(storedRuleListSchema),
  },
  readFile: {
    method: 'GET',
    path: `${SANDBOX}/files/content`,
    tag: 'files',
    summary: 'A file of the sandbox. FILE_NOT_FOUND (404).',
    query: pathQuery,
    response: { ...bytes, status: 200 },
  },
  writeFile: {
    method: 'PUT',
    path: `${SANDBOX}/files/content`,
    tag: 'files',
    summary: 'Write a file, in place of one that is there. The directory must exist.',
    query: z.strictObject({
      path: insidePath,
      /** Permission bits in octal, such as `755`. Default: 644, or those of the file in its place. */
      mode: z
        .string()
        .regex(/^[0-7]{3,4}$/, 'Write permission bits in octal, such as 755')
        .optional(),
    }),
    body: bytes,
    response: none,
  },
  getFileEntry: {
    method: 'GET',
    path: `${SANDBOX}/files/entry`,
    tag: 'files',
    summary: 'What there is at a path; a link is not followed.',
    query: pathQuery,
    response: answer(fileEntrySchema),
  },
  listFiles: {
    method: 'GET',
    path: `${SANDBOX}/files/entries`,
    tag: 'files',
    summary: 'What is in a directory, sorted by name.',
    query: pathQuery,
    response: answer(fileListSchema),
  },
  removeFile: {
    method: 'DELETE',
    path: `${SANDBOX}/files/entry`,
    tag: 'files',
    summary: 'Remove a file or an empty directory; with `recursive`, what is in it as well.',
    query: z.strictObject({ path: insidePath, recursive: flagParameter.optional() }),
    response: none,
  },
  makeDirectory: {
    method: 'POST',
    path: `${SANDBOX}/files/directories`,
    tag: 'files',
    summary: 'Make a directory.',
    body: json(directoryCreateSchema),
    response: none,
  },
  renameFile: {
    method: 'POST',
    path: `${SANDBOX}/files/rename`,
    tag: 'files',
    summary: 'Rename or move a file or a directory.',
    body: json(renameSchema),
    response: none,
  },
  readArchive: {
    method: 'GET',
    path: `${SANDBOX}/files/archive`,
    tag: 'files',
    summary: 'A file or a directory with all that is in it, as tar; names begin with the last part of the path.',
    query: pathQuery,
    response: { ...archive, status: 200 },
  },
  writeArchive: {
    method: 'PUT',
    path: `${SANDBOX}/files/archive`,
    tag: 'files',
    summary: 'Unpack a tar into a directory that exists.',
    query: pathQuery,
    body: archive,
    response: none,
  },
} as const satisfies Record<string, Endpoint>;

export type EndpointId = keyof typeof ENDPOINTS;
