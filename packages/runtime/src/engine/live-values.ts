import type { Problem } from '../gate/problem.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import type { Authority } from '../http/message.ts';
import type { SecretHost } from '../secrets/bound-secret.ts';
import { createAuthorityLookup } from '../secrets/secret-set.ts';
import type { CachedSource } from '../sources/cached-source.ts';

/** A secret whose value is fetched when a request needs it. */
export interface LiveSecret {
  /** By which its value is known: another one for each change of its definition. */
  readonly key: string;
  /** As audit events call it. */
  readonly name: string;
  readonly hosts: readonly SecretHost[];
  readonly source: Pick<CachedSource, 'peek' | 'get' | 'drop'>;
}

/** A value in force. */
interface AppliedValue {
  readonly bytes: Uint8Array;
  readonly text: string;
}

export interface LiveValuesOptions {
  readonly secrets: readonly LiveSecret[];
  /**
   * Puts values into force, by their keys: when it resolves, the gate puts them in and redacts them. Called one at a time, with all values that
   * are known. What it rejects with is not told to the sandbox.
   */
  readonly apply: (values: ReadonlyMap<string, string>) => Promise<void>;
}

/**
 * Fetches the values of a sandbox's secrets when a request needs them: those bound to its authority, none of them before, and none whose
 * life is not over. Where one cannot be had the request fails; a value whose life is over is never used.
 */
export class LiveValues implements ValueProvider {
  readonly #apply: LiveValuesOptions['apply'];
  #secrets: readonly LiveSecret[] = [];
  #secretsFor: (authority: Authority) => readonly LiveSecret[] = () => [];
  readonly #applied = new Map<string, AppliedValue>();
  /** The latest change that is being put into force. */
  #applying: Promise<void> = Promise.resolve();

  constructor({ secrets, apply }: LiveValuesOptions) {
    this.#apply = apply;
    this.use(secrets);
  }

  /** Takes other secrets; the values of those that stay as they are stay in force. */
  use(secrets: readonly LiveSecret[]): void {
    this.#secrets = secrets;
    this.#secretsFor = createAuthorityLookup(secrets);
    const keys = new Set(secrets.map(({ key }) => key));
    for (const key of this.#applied.keys()) if (!keys.has(key)) this.#applied.delete(key);
  }

  prepare(authority: Authority): Promise<Problem | null> | null {
    const secrets = this.#secretsFor(authority);
    for (const secret of secrets) if (!this.#isInForce(secret)) return this.#fetch(secrets);
    return null;
  }

  async refused(names: readonly string[]): Promise<boolean> {
    let isWorthwhile = false;
    for (const { key, name, source } of this.#secrets) {
      const applied = this.#applied.get(key);
      if (applied !== undefined && names.includes(name) && source.drop(applied.bytes)) isWorthwhile = true;
    }
    return isWorthwhile;
  }

  #isInForce({ key, source }: LiveSecret): boolean {
    const applied = this.#applied.get(key);
    if (applied === undefined) return false;
    const fresh = source.peek();
    return fresh !== null && isEqual(fresh, applied.bytes);
  }

  async #fetch(secrets: readonly LiveSecret[]): Promise<Problem | null> {
    const missing = secrets.filter((secret) => !this.#isInForce(secret));
    const fetched = await Promise.all(missing.map(async (secret) => ({ secret, value: await fetchValue(secret) })));
    const changed: (readonly [string, AppliedValue])[] = [];
    for (const { secret, value } of fetched) {
      if (value === null) return unavailable(secret.name, 'its source does not give it');
      const applied = this.#applied.get(secret.key);
      if (applied === undefined || !isEqual(applied.bytes, value.bytes)) changed.push([secret.key, value]);
    }
    if (changed.length === 0) return null;
    const before = this.#applying;
    const applying = before.then(() => this.#putIntoForce(changed));
    this.#applying = applying.catch(() => undefined);
    try {
      await applying;
      return null;
    } catch {
      const names = missing.map(({ name }) => name).join(', ');
      return unavailable(names, 'what its source gives cannot be used');
    }
  }

  async #putIntoForce(changed: readonly (readonly [string, AppliedValue])[]): Promise<void> {
    const values = new Map([...this.#applied, ...changed].map(([key, { text }]) => [key, text] as const));
    await this.#apply(values);
    const keys = new Set(this.#secrets.map(({ key }) => key));
    for (const [key, value] of changed) if (keys.has(key)) this.#applied.set(key, value);
  }
}

/** Null where the source fails, or gives what is no text. */
async function fetchValue({ source }: LiveSecret): Promise<AppliedValue | null> {
  try {
    const bytes = await source.get();
    return { bytes, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return null;
  }
}

/** Why is for people on the host: it can name paths and programs. */
function unavailable(name: string, why: string): Problem {
  return {
    status: 502,
    code: 'SECRET_UNAVAILABLE',
    detail: `The value of the secret ${name} is not available: ${why}.`,
    remedy: `Look on the host what is wrong with it: sallyport secret test ${name}`,
  };
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
