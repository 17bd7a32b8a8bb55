import { createHash } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import { KeychainError, KeychainProcess, type KeychainLimits } from './keychain-process.ts';
import type { SecretStore } from './secret-store.ts';

/** The Windows Credential Manager takes 2,560 bytes, in UTF-16. */
const WINDOWS_PART_LENGTH = 1_200;
/** Kept beside the values: where it can be seen, so can they. No key has a dot. */
const PROBE_ACCOUNT = '.probe';
const PROBE_TEXT = 'This item shows Sallyport that the keychain is open.';
const FORMAT = 'sallyport1';

/** How the keychain is reached. */
export interface KeychainStoreOptions {
  /** The service of all items: another state directory has another one. */
  readonly service: string;
  readonly environment: NodeJS.ProcessEnv;
  /** The longest text of an item; a value that needs more is kept in several. By default what the platform allows. */
  readonly partLength?: number;
  readonly limits?: KeychainLimits;
}

/** Whether the keychain takes values, and if not, why. */
export type KeychainState = 'open' | { readonly trouble: 'absent' | 'locked'; readonly detail: string };

/**
 * The keychain of the system: Secret Service, macOS Keychain, Windows Credential Manager.
 *
 * A keychain may say "there is none" when it is locked. That is believed only while an item that Sallyport put there itself can be read, or written.
 */
export class KeychainStore implements SecretStore {
  readonly kind = 'keychain';
  readonly #service: string;
  readonly #process: KeychainProcess;
  readonly #partLength: number;

  constructor(options: KeychainStoreOptions) {
    this.#service = options.service;
    this.#process = new KeychainProcess(options.environment, options.limits);
    this.#partLength =
      options.partLength ?? (process.platform === 'win32' ? WINDOWS_PART_LENGTH : Number.POSITIVE_INFINITY);
  }

  /** Whether values can be written. It writes an item of its own where there is none yet; somebody may be asked for a password. */
  async probe(): Promise<KeychainState> {
    try {
      await this.#proveOpen();
      return 'open';
    } catch (error) {
      if (!(error instanceof KeychainError)) throw error;
      // One that is too busy is there: a file in its place would be a surprise.
      if (error.trouble === 'busy') throw explainKeychain('busy', error.message, error);
      return { trouble: error.trouble === 'locked' ? 'locked' : 'absent', detail: error.message };
    }
  }

  async read(key: string, signal?: AbortSignal): Promise<Uint8Array | null> {
    return await this.#attempt(async () => {
      let head = await this.#get(key, signal);
      if (head === null) {
        await this.#proveOpen(signal);
        // It may have been opened for that.
        head = await this.#get(key, signal);
      }
      if (head === null) return null;
      const parsed = readHead(head);
      if (parsed === null) throw corrupt();
      const { count, digest, text } = parsed;
      const texts = [text];
      for (let part = 1; part < count; part += 1) {
        // oxlint-disable-next-line no-await-in-loop -- the keychain takes one at a time.
        texts.push((await this.#get(partAccount(key, part), signal)) ?? '');
      }
      const value = Buffer.from(texts.join(''), 'base64');
      if (digestOf(value) !== digest) throw corrupt();
      return value;
    });
  }

  async write(key: string, value: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#attempt(async () => {
      const base64 = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
      const [first = '', ...others] = cut(base64, this.#partLength);
      // A value that is replaced may have had more; where there is one part, there is no need to ask.
      const former = this.#partLength === Number.POSITIVE_INFINITY ? 1 : await this.#countParts(key, signal);
      // The head last: until then there is no value.
      for (const [index, text] of others.entries()) {
        // oxlint-disable-next-line no-await-in-loop -- the keychain takes one at a time.
        await this.#set(partAccount(key, index + 1), text, signal);
      }
      await this.#set(key, `${FORMAT} ${others.length + 1} ${digestOf(value)} ${first}`, signal);
      await this.#deleteParts(key, others.length + 1, former, signal);
    });
  }

  async remove(key: string, signal?: AbortSignal): Promise<boolean> {
    return await this.#attempt(async () => {
      await this.#deleteParts(key, 1, await this.#countParts(key, signal), signal);
      return await this.#delete(key, signal);
    });
  }

  async keys(signal?: AbortSignal): Promise<readonly string[]> {
    return await this.#attempt(async () => {
      await this.#proveOpen(signal);
      const answer = await this.#process.ask({ kind: 'list', service: this.#service }, signal);
      return answer.kind === 'accounts' ? answer.accounts.filter((account) => !account.includes('.')) : [];
    });
  }

  /** Removes all items of the service but those of keys that `isKept` names when they are found. */
  async erase(isKept: (key: string) => boolean): Promise<void> {
    for (const key of await this.keys()) {
      if (isKept(key)) continue;
      // oxlint-disable-next-line no-await-in-loop -- the keychain takes one at a time.
      await this.remove(key);
    }
    await this.#attempt(async () => await this.#delete(PROBE_ACCOUNT));
  }

  async close(): Promise<void> {
    await this.#process.close();
  }

  async #proveOpen(signal?: AbortSignal): Promise<void> {
    if ((await this.#get(PROBE_ACCOUNT, signal)) === null) await this.#set(PROBE_ACCOUNT, PROBE_TEXT, signal);
  }

  /** How many items a value has; 1 where there is none, or where that cannot be read. */
  async #countParts(key: string, signal: AbortSignal | undefined): Promise<number> {
    const head = await this.#get(key, signal);
    return head === null ? 1 : (readHead(head)?.count ?? 1);
  }

  async #deleteParts(key: string, from: number, to: number, signal: AbortSignal | undefined): Promise<void> {
    for (let part = from; part < to; part += 1) {
      // oxlint-disable-next-line no-await-in-loop -- the keychain takes one at a time.
      await this.#delete(partAccount(key, part), signal);
    }
  }

  async #get(account: string, signal?: AbortSignal): Promise<string | null> {
    const answer = await this.#process.ask({ kind: 'get', service: this.#service, account }, signal);
    return answer.kind === 'text' ? answer.text : null;
  }

  async #set(account: string, text: string, signal?: AbortSignal): Promise<void> {
    await this.#process.ask({ kind: 'set', service: this.#service, account, text }, signal);
  }

  async #delete(account: string, signal?: AbortSignal): Promise<boolean> {
    const answer = await this.#process.ask({ kind: 'delete', service: this.#service, account }, signal);
    return answer.kind === 'done' && answer.isChanged;
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof KeychainError ? explainKeychain(error.trouble, error.message, error) : error;
    }
  }
}

/** What a person can do about a keychain that takes nothing. `detail` is what the library said. */
export function explainKeychain(trouble: KeychainError['trouble'], detail: string, cause?: unknown): SallyportError {
  switch (trouble) {
    case 'locked':
      return new SallyportError(
        'STORE_LOCKED',
        `The keychain is locked (${detail}). Unlock it, by logging in to the desktop or in its own window, and try again; or keep secrets in an encrypted file: SALLYPORT_STORE=file.`,
        { cause },
      );
    case 'absent':
    case 'unusable':
    case 'busy':
    case 'failed':
      return new SallyportError(
        'STORE_FAILED',
        `The keychain cannot be used (${detail}). See that it runs in this session (DBUS_SESSION_BUS_ADDRESS names the session on Linux); or keep secrets in an encrypted file: SALLYPORT_STORE=file.`,
        { cause },
      );
  }
}

/** Null where it is no head of ours. */
function readHead(head: string): { count: number; digest: string; text: string } | null {
  const [format, count = '', digest = '', text = '', ...others] = head.split(' ');
  if (format !== FORMAT || others.length > 0 || !/^[1-9][0-9]{0,3}$/.test(count)) return null;
  return { count: Number(count), digest, text };
}

function corrupt(): SallyportError {
  return new SallyportError(
    'STORE_CORRUPT',
    'The item of a secret in the keychain is not as Sallyport wrote it. It was left as it is. Set the secret again.',
  );
}

/** Of the value, beside which it lies: shows that the parts belong together. */
function digestOf(value: Uint8Array): string {
  return createHash('sha256').update(value).digest('hex').slice(0, 32);
}

function partAccount(key: string, part: number): string {
  return `${key}.${part}`;
}

/** The first part leaves room for the head. */
function cut(text: string, length: number): string[] {
  const headLength = FORMAT.length + 40;
  if (text.length + headLength <= length) return [text];
  const first = Math.max(length - headLength, 0);
  const parts = [text.slice(0, first)];
  for (let start = first; start < text.length; start += length) parts.push(text.slice(start, start + length));
  return parts;
}
