import {
  SallyportError,
  type SecretStoreInfo,
  type StoredSecretChange,
  type StoredSecretInfo,
  type StoredSecretResult,
  type StoredSecretTest,
  type StoreSetting,
} from '@sallyport/sdk';
import { checkValueOf } from '../../engine/live-secrets.ts';
import { maskValue } from '../../secrets/mask-value.ts';
import { formatScope, type SecretScope, type StoredSecret } from '../../secrets/stored-secret.ts';
import { findService } from '../../services/catalogue.ts';
import { createValueSource, inspectSource } from '../../sources/value-source.ts';
import type { SecretDraft } from '../../stores/secret-book.ts';
import type { SandboxRegistry } from '../registry.ts';
import type { SecretShelf } from '../secret-shelf.ts';
import {
  draftSecret,
  refuseSamePlaceholder,
  refuseSameVariable,
  type StoredSecretDraft,
} from '../stored-secret-draft.ts';
import { json, nothing, type ApiRequest, type Handler } from './exchange.ts';
import { secretNameOf } from './secrets.ts';

/** With what sources are asked when a secret is set or tried: as when a request needs it. */
const HOST_OPTIONS = { environment: process.env, directory: '/' } as const;

/** Stored secrets: every change is in force in all sandboxes that run when it is answered. */
export function storedSecretHandlers(registry: SandboxRegistry, shelf: SecretShelf) {
  /** Changes of one secret happen one after the other. */
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    const result = queue.then(work);
    queue = result.catch(() => undefined);
    return await result;
  };
  return {
    async listStoredSecrets({ query }) {
      const secrets = listOf(shelf, query);
      return json({ secrets: await Promise.all(secrets.map(async (secret) => await showStored(shelf, secret))) });
    },
    async putStoredSecret(request) {
      const { body, query, signal } = request;
      const change = body as StoredSecretChange;
      const overwrites = query['overwrite'] !== false;
      const scope = scopeOf(query);
      const name = secretNameOf(request);
      // A source may take its time, which nobody else has to wait for.
      const warnings = await trySource(draftOf(shelf, scope, name, change, overwrites), change, signal);
      return json(
        await inTurn(async () => {
          const stored = await storeSecret(shelf, draftOf(shelf, scope, name, change, overwrites), change, warnings);
          const problems = await registry.applyStored();
          return {
            ...stored,
            notices: [...stored.notices, ...problems],
            sandboxes: [...registry.runningWith({ scope, name })],
          } satisfies StoredSecretResult;
        }),
      );
    },
    async removeStoredSecret(request) {
      const name = secretNameOf(request);
      const scope = scopeOf(request.query);
      await inTurn(async () => {
        const isKnown = shelf.list(scope).some((secret) => secret.name === name);
        if (!isKnown || !(await (await shelf.book()).remove(scope, name))) throw notStored(scope, name);
        refuseStale(await registry.applyStored());
      });
      return nothing;
    },
    async removeStoredSecrets({ query }) {
      return json(
        await inTurn(async () => {
          const secrets = listOf(shelf, query);
          const isAll = query['sandbox'] === undefined && query['global'] !== true;
          // Nothing is to be left in a keychain; but sandboxes that do not run have their own values there.
          if (isAll && registry.all.length === 0 && shelf.stored !== null) {
            await (await shelf.book()).reset();
          } else {
            // One after the other: each is a write of its own.
            // oxlint-disable-next-line no-await-in-loop
            for (const { scope, name } of secrets) await (await shelf.book()).remove(scope, name);
          }
          refuseStale(await registry.applyStored());
          return { removed: secrets.length };
        }),
      );
    },
    async testStoredSecret(request) {
      const name = secretNameOf(request);
      const scope = scopeOf(request.query);
      const secret = shelf.list(scope).find((each) => each.name === name);
      if (secret === undefined) throw notStored(scope, name);
      const startedMs = performance.now();
      const text = await readText(shelf, secret, false, request.signal);
      checkValueOf(secret, text);
      return json({
        secret: { ...(await showStored(shelf, secret)), mask: maskValue(text) },
        bytes: Buffer.byteLength(text),
        milliseconds: Math.round(performance.now() - startedMs),
      } satisfies StoredSecretTest);
    },
    getSecretStore: async () => json(await describeStore(shelf)),
    async setSecretStore({ body }) {
      const { setting } = body as { setting: StoreSetting };
      (await shelf.book()).setStore(setting === 'auto' ? null : setting);
      return json(await describeStore(shelf, setting));
    },
  } satisfies Record<string, Handler>;
}

/** What was removed must not be taken for gone where it is still in force. @throws SallyportError STATE_FAILED */
function refuseStale([problem, ...more]: readonly string[]): void {
  if (problem === undefined) return;
  const others = more.length === 0 ? '' : ` So it is with ${more.length} more.`;
  throw new SallyportError(
    'STATE_FAILED',
    `It is not stored any more, but still in force: ${problem}${others} Stop what goes on with it.`,
  );
}

function scopeOf(query: ApiRequest['query']): SecretScope {
  const sandbox = query['sandbox'];
  return typeof sandbox === 'string' ? { kind: 'sandbox', sandbox } : { kind: 'global' };
}

/** All secrets, or those of the scope that is asked for. */
function listOf(shelf: SecretShelf, query: ApiRequest['query']): readonly StoredSecret[] {
  const isAll = query['sandbox'] === undefined && query['global'] !== true;
  return shelf.list(isAll ? undefined : scopeOf(query));
}

/** A change, checked against what is stored at this moment. @throws SallyportError SECRET_EXISTS, and whatever is malformed */
function draftOf(
  shelf: SecretShelf,
  scope: SecretScope,
  name: string,
  change: StoredSecretChange,
  overwrites: boolean,
): StoredSecretDraft & { readonly isNew: boolean } {
  const others = shelf.list(scope);
  const known = others.find((secret) => secret.name === name);
  if (known !== undefined && !overwrites) {
    throw new SallyportError(
      'SECRET_EXISTS',
      `A secret ${JSON.stringify(name)} is stored for ${describeScope(scope)} already. Remove it first, or say that it is to be replaced.`,
    );
  }
  const made = draftSecret(scope, name, change, known);
  refuseSameVariable(made.draft, others);
  refuseSamePlaceholder(made.draft, shelf.list());
  const notices = [...describeChangedKind(known, made.draft), ...made.notices];
  return { ...made, notices, isNew: known === undefined };
}

/** Tries the source of a value that is fetched, unless that is not wanted; what people should know of it. @throws SallyportError SOURCE_FAILED */
async function trySource(
  { draft }: StoredSecretDraft,
  change: StoredSecretChange,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (change.kind === 'plain' || draft.source.kind === 'value') return [];
  const warnings = await inspectSource(draft.source, HOST_OPTIONS);
  const text = await fetchText(draft, change.showError === true, change.verify !== false, signal);
  if (text !== null) checkValueOf(draft, text);
  return warnings;
}

async function storeSecret(
  shelf: SecretShelf,
  { draft, value, notices, isNew }: ReturnType<typeof draftOf>,
  { store }: StoredSecretChange,
  warnings: readonly string[],
): Promise<Omit<StoredSecretResult, 'sandboxes'>> {
  const book = await shelf.book();
  const bytes = value === null ? null : Buffer.from(value, 'utf8');
  const { secret, notices: stored } = await book.set(draft, bytes, store);
  bytes?.fill(0);
  return {
    secret: await showStored(shelf, secret),
    created: isNew,
    notices: [...notices, ...warnings, ...stored],
  };
}

/** What takes the place of something else by its name is probably not meant to. */
function describeChangedKind(known: StoredSecret | undefined, draft: SecretDraft): readonly string[] {
  if (known === undefined || known.kind === draft.kind) return [];
  const { name, kind } = draft;
  return [`${name} was a ${known.kind} secret there; the ${kind} one has taken its place.`];
}

/** What the source of a secret gives; null where it is not asked. @throws SallyportError INVALID_REFERENCE, SOURCE_FAILED */
async function fetchText(
  { source }: SecretDraft,
  showError: boolean,
  asks: boolean,
  signal: AbortSignal,
): Promise<string | null> {
  if (source.kind === 'value') return null;
  const from = createValueSource(source, { ...HOST_OPTIONS, showError });
  return asks ? Buffer.from(await from.fetch(signal)).toString('utf8') : null;
}

async function readText(
  shelf: SecretShelf,
  secret: StoredSecret,
  showError: boolean,
  signal: AbortSignal,
): Promise<string> {
  const fetched = await fetchText(secret, showError, true, signal);
  if (fetched !== null) return fetched;
  const book = await shelf.book();
  return Buffer.from(await book.value(secret)).toString('utf8');
}

/** A stored secret as the API shows it. */
async function showStored(shelf: SecretShelf, secret: StoredSecret): Promise<StoredSecretInfo> {
  const { scope, name, kind, env, source, createdAt, updatedAt } = secret;
  const definition = kind === 'service' ? findService(name) : undefined;
  const { mask, problem } = await maskOf(shelf, secret);
  return {
    sandbox: scope.kind === 'global' ? null : formatScope(scope),
    name,
    kind,
    env: definition === undefined ? [env ?? name] : definition.variables.map((variable) => variable.name),
    hosts: definition === undefined ? [...secret.hosts] : definition.endpoints.flatMap(({ hosts }) => [...hosts]),
    locations: [...secret.locations],
    methods: [...secret.methods],
    path: secret.path,
    onViolation: secret.onViolation,
    placeholder: secret.placeholder,
    source: source.kind === 'value' ? 'stored' : source.kind,
    from: source.kind === 'command' ? source.command : source.kind === 'reference' ? source.reference : null,
    refreshMs: secret.refreshMs,
    mask,
    problem:
      problem ?? (kind === 'service' && definition === undefined ? 'Nothing declares a service of that name.' : null),
    createdAt: new Date(createdAt).toISOString(),
    updatedAt: new Date(updatedAt).toISOString(),
  };
}

async function maskOf(shelf: SecretShelf, secret: StoredSecret): Promise<Pick<StoredSecretInfo, 'mask' | 'problem'>> {
  if (secret.source.kind !== 'value') return { mask: null, problem: null };
  try {
    const book = await shelf.book();
    return { mask: maskValue(Buffer.from(await book.value(secret)).toString('utf8')), problem: null };
  } catch (error) {
    if (error instanceof SallyportError) return { mask: null, problem: error.message };
    throw error;
  }
}

/** @param asked the setting that was just chosen. */
async function describeStore(shelf: SecretShelf, asked?: StoreSetting): Promise<SecretStoreInfo> {
  const { storeChoice, storeKind } = await shelf.book();
  const isOverridden = asked !== undefined && asked !== storeChoice;
  const notice = `SALLYPORT_STORE=${storeChoice} of the daemon goes before this setting, until the daemon is restarted without it.`;
  return { setting: storeChoice, kind: storeKind, notices: isOverridden ? [notice] : [] };
}

function describeScope(scope: SecretScope): string {
  return scope.kind === 'global' ? 'all sandboxes' : `the sandbox ${scope.sandbox}`;
}

function notStored(scope: SecretScope, name: string): SallyportError {
  return new SallyportError(
    'SECRET_NOT_FOUND',
    `No secret ${JSON.stringify(name)} is stored for ${describeScope(scope)}. "sallyport secret ls" lists what there is.`,
  );
}
