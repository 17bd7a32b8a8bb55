import { rmSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rename, rm, stat, chmod } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { AgeKey } from './age-program.ts';
import { AgeThread } from './age-thread.ts';
import { reasonOf } from './database.ts';
import { PARTIAL_SUFFIX, syncDirectory, writeDurably, type FileStep } from './durable-file.ts';
import type { SecretStore } from './secret-store.ts';

/** The key of all files, as age has it. */
const KEY_FILE = 'identity';
/** The same, closed with a passphrase. */
const CLOSED_KEY_FILE = 'identity.age';
/** Whatever opens this is the key of the other files: else a wrong key would be taken for damage. */
const CHECK_FILE = 'check.age';
const VALUE_SUFFIX = '.age';
const CORRUPT_MARK = '.corrupt-';
const VALUE_FILE = /^([0-9A-Za-z]+)\.age$/;
/** How long a file that is being written can be there, in ms. */
const PARTIAL_AGE_MS = 10 * 60 * 1_000;

/** How a store of files is opened. */
export interface FileStoreOptions {
  /** Made (0700) when something is written. */
  readonly directory: string;
  /** `SALLYPORT_STORE_PASSPHRASE_FILE` names the file with the passphrase. With one, the key of a store that is made is closed with it. */
  readonly environment: NodeJS.ProcessEnv;
  /** Asked for the passphrase where the environment names none; null when nobody answers. */
  readonly askPassphrase?: (() => Promise<string | null>) | undefined;
  /** Hears how far a write has come. For tests. */
  readonly onStep?: ((step: FileStep) => void) | undefined;
}

/**
 * One file in the age format for each value, closed to one key that lies beside them (0600), itself closed with a passphrase where there is one.
 *
 * Each file has its own name inside, so that files which are exchanged are noticed. A file that is damaged is put aside and never taken for one that is missing.
 */
export class FileStore implements SecretStore {
  readonly kind = 'file';
  readonly #options: FileStoreOptions;
  readonly #directory: string;
  readonly #thread = new AgeThread();
  #key: Promise<AgeKey> | null = null;
  /** Which file the key is from: after a reset by another process there is another one. */
  #keyStamp: string | null = null;

  constructor(options: FileStoreOptions) {
    this.#options = options;
    this.#directory = options.directory;
  }

  async read(key: string): Promise<Uint8Array | null> {
    checkKey(key);
    const path = this.#valuePath(key);
    let ciphertext: Uint8Array<ArrayBuffer>;
    try {
      ciphertext = await readFile(path);
    } catch (error) {
      if (isMissing(error)) return await this.#readMissing(key);
      throw ioFailure('read', path, error);
    }
    const { identity } = await this.#openKey();
    const result = await this.#thread.run({ kind: 'decrypt', identity, ciphertext });
    const value = result.kind === 'bytes' ? takeValue(key, result.bytes) : null;
    if (value === null) throw await this.#putAside(path, ciphertext);
    return value;
  }

  async write(key: string, value: Uint8Array): Promise<void> {
    checkKey(key);
    const { recipient } = await this.#openKey({ isMaking: true });
    const plaintext = new Uint8Array([...header(key), ...value]);
    const result = await this.#thread.run({ kind: 'encrypt', recipient, plaintext });
    plaintext.fill(0);
    if (result.kind !== 'bytes') throw new SallyportError('INTERNAL', 'age encrypts to no bytes.');
    await this.#writeFile(this.#valuePath(key), result.bytes);
  }

  async remove(key: string): Promise<boolean> {
    checkKey(key);
    const path = this.#valuePath(key);
    try {
      await rm(path);
      await syncDirectory(this.#directory);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw ioFailure('removed', path, error);
    }
  }

  async keys(): Promise<readonly string[]> {
    return (await this.#list()).flatMap((name) => (name === CHECK_FILE ? [] : (VALUE_FILE.exec(name)?.[1] ?? [])));
  }

  /** Removes everything, the key and what was put aside included. */
  erase(): void {
    this.#key = null;
    try {
      rmSync(this.#directory, { recursive: true, force: true });
    } catch (error) {
      throw ioFailure('removed', this.#directory, error);
    }
  }

  async close(): Promise<void> {
    this.#key = null;
    await this.#thread.close();
  }

  #valuePath(key: string): string {
    return join(this.#directory, `${key}${VALUE_SUFFIX}`);
  }

  async #list(): Promise<string[]> {
    try {
      return await readdir(this.#directory);
    } catch (error) {
      if (isMissing(error)) return [];
      throw ioFailure('read', this.#directory, error);
    }
  }

  /** False where there is one already that is to stay. */
  async #writeFile(path: string, content: Uint8Array, isExclusive = false): Promise<boolean> {
    try {
      await writeDurably(path, content, { isExclusive, onStep: this.#options.onStep });
      return true;
    } catch (error) {
      if (isExclusive && hasCode(error, 'EEXIST')) return false;
      throw ioFailure('written', path, error);
    }
  }

  async #readMissing(key: string): Promise<null> {
    const aside = (await this.#list()).find((name) => name.startsWith(`${key}${VALUE_SUFFIX}${CORRUPT_MARK}`));
    if (aside === undefined) return null;
    throw damaged(join(this.#directory, aside));
  }

  /** A file that does not open is moved away, so that nothing replaces it, unless another process has replaced it meanwhile. */
  async #putAside(path: string, ciphertext: Uint8Array): Promise<SallyportError> {
    const aside = `${path}${CORRUPT_MARK}${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
    try {
      if (Buffer.compare(await readFile(path), ciphertext) === 0) await rename(path, aside);
      return damaged(aside);
    } catch {
      return damaged(path);
    }
  }

  /** The key, read once; made where there is none and no file that it would not open. */
  async #openKey(options: { readonly isMaking?: boolean } = {}): Promise<AgeKey> {
    const stamp = await this.#stampKey();
    if (stamp !== this.#keyStamp) this.#key = null;
    this.#keyStamp = stamp;
    const opening = (this.#key ??= this.#findKey(options.isMaking === true));
    try {
      const key = await opening;
      this.#keyStamp = await this.#stampKey();
      return key;
    } catch (error) {
      if (this.#key === opening) this.#key = null;
      throw error;
    }
  }

  async #stampKey(): Promise<string | null> {
    for (const name of [KEY_FILE, CLOSED_KEY_FILE]) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- the first of two.
        const { ino, mtimeMs } = await stat(join(this.#directory, name));
        return `${ino} ${mtimeMs}`;
      } catch {
        // Whoever reads it says so.
      }
    }
    return null;
  }

  async #findKey(isMaking: boolean): Promise<AgeKey> {
    if (isMaking) await this.#makeDirectory();
    let key = await this.#readKey();
    if (key === null) {
      if (!isMaking || (await this.#list()).some((name) => name === CHECK_FILE || VALUE_FILE.test(name))) {
        throw new SallyportError(
          'STORE_CORRUPT',
          `The key of the encrypted secrets, ${JSON.stringify(join(this.#directory, KEY_FILE))}, is missing; without it they cannot be read. Put it back from a copy, or give the secrets up: sallyport reset.`,
        );
      }
      key = (await this.#makeKey()) ?? (await this.#readKey());
    }
    if (key === null) throw new SallyportError('STORE_FAILED', 'The key of the encrypted secrets vanished. Try again.');
    await this.#checkKey(key);
    if (isMaking) await this.#removePartials();
    return key;
  }

  async #makeDirectory(): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      if (((await stat(this.#directory)).mode & 0o077) !== 0) await chmod(this.#directory, 0o700);
    } catch (error) {
      throw ioFailure('made', this.#directory, error);
    }
  }

  /** Null where there is none. */
  async #readKey(): Promise<AgeKey | null> {
    for (const [name, isClosed] of [
      [KEY_FILE, false],
      [CLOSED_KEY_FILE, true],
    ] as const) {
      const path = join(this.#directory, name);
      // oxlint-disable-next-line no-await-in-loop -- the first of two.
      const file = await readPrivateFile(path);
      if (file === null) continue;
      // oxlint-disable-next-line no-await-in-loop
      const passphrase = isClosed ? await this.#passphrase() : null;
      if (isClosed && passphrase === null) throw closedKey('it needs its passphrase');
      // oxlint-disable-next-line no-await-in-loop
      const result = await this.#thread.run({ kind: 'open', file, passphrase });
      if (result.kind === 'key') return result.key;
      if (result.kind === 'refused') throw closedKey('the passphrase is another one');
      throw new SallyportError(
        'STORE_CORRUPT',
        `The key of the encrypted secrets, ${JSON.stringify(path)}, is damaged; without it they cannot be read. Put it back from a copy, or give the secrets up: sallyport reset.`,
      );
    }
    return null;
  }

  /** Makes a key; null where another process was faster. */
  async #makeKey(): Promise<AgeKey | null> {
    const passphrase = await readPassphraseFile(this.#options.environment);
    const made = await this.#thread.run({ kind: 'generate', passphrase });
    if (made.kind !== 'key') throw new SallyportError('INTERNAL', 'age made no key.');
    const name = passphrase === null ? KEY_FILE : CLOSED_KEY_FILE;
    const isOurs = await this.#writeFile(join(this.#directory, name), made.file, true);
    made.file.fill(0);
    return isOurs ? made.key : null;
  }

  async #passphrase(): Promise<string | null> {
    return (await readPassphraseFile(this.#options.environment)) ?? (await this.#options.askPassphrase?.()) ?? null;
  }

  /** Sees that the key is the one of the files, and makes the check of a key that has none. */
  async #checkKey({ identity, recipient }: AgeKey): Promise<void> {
    const path = join(this.#directory, CHECK_FILE);
    const ciphertext = await readPrivateFile(path);
    if (ciphertext !== null) {
      const result = await this.#thread.run({ kind: 'decrypt', identity, ciphertext });
      if (result.kind === 'bytes') return;
      throw new SallyportError(
        'STORE_CORRUPT',
        `The key in ${JSON.stringify(this.#directory)} is not the one of the secrets there, or ${JSON.stringify(CHECK_FILE)} beside it is damaged. Nothing was changed. Put the right key back from a copy, or give the secrets up: sallyport reset.`,
      );
    }
    const plaintext = new TextEncoder().encode('This file was encrypted with the key of the others.\n');
    const result = await this.#thread.run({ kind: 'encrypt', recipient, plaintext });
    if (result.kind === 'bytes') await this.#writeFile(path, result.bytes);
  }

  /** Removes what writers that were killed have left half written: ciphertext that nothing names. */
  async #removePartials(): Promise<void> {
    for (const name of (await this.#list()).filter((entry) => entry.endsWith(PARTIAL_SUFFIX))) {
      const path = join(this.#directory, name);
      try {
        // oxlint-disable-next-line no-await-in-loop -- there are hardly ever any.
        if (Date.now() - (await stat(path)).mtimeMs > PARTIAL_AGE_MS) await rm(path, { force: true });
      } catch {
        // Another process was faster.
      }
    }
  }
}

/** Keys become names of files. */
function checkKey(key: string): void {
  if (!/^[0-9A-Za-z]+$/.test(key)) throw new RangeError('a key of a store is letters and digits');
}

function header(key: string): Uint8Array {
  return new TextEncoder().encode(`sallyport value ${key}\n`);
}

/** What is behind the header; null where the file is that of another key. */
function takeValue(key: string, plaintext: Uint8Array): Uint8Array | null {
  const expected = header(key);
  const isOwn = Buffer.compare(plaintext.subarray(0, expected.length), expected) === 0;
  const value = isOwn ? plaintext.slice(expected.length) : null;
  plaintext.fill(0);
  return value;
}

/** Null where there is none. @throws SallyportError STORE_FAILED where others than the owner can get at it */
async function readPrivateFile(path: string): Promise<Uint8Array | null> {
  try {
    const { mode } = await lstat(path);
    if ((mode & 0o077) !== 0) {
      throw new SallyportError(
        'STORE_FAILED',
        `${JSON.stringify(path)} can be read or written by others than you. See who had access to the secrets, then: chmod 600 ${JSON.stringify(path)}`,
      );
    }
    return await readFile(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error instanceof SallyportError ? error : ioFailure('read', path, error);
  }
}

/** Null where the environment names none. */
async function readPassphraseFile(environment: NodeJS.ProcessEnv): Promise<string | null> {
  const path = environment['SALLYPORT_STORE_PASSPHRASE_FILE'];
  if (path === undefined || path === '') return null;
  if (!isAbsolute(path)) {
    throw new SallyportError(
      'STORE_FAILED',
      `SALLYPORT_STORE_PASSPHRASE_FILE names ${JSON.stringify(path)}; it must be an absolute path, because the daemon has another working directory.`,
    );
  }
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw ioFailure('read', path, error);
  }
  const passphrase = text.replace(/\r?\n$/, '');
  if (passphrase === '') {
    throw new SallyportError(
      'STORE_FAILED',
      `The passphrase file ${JSON.stringify(path)} (SALLYPORT_STORE_PASSPHRASE_FILE) is empty.`,
    );
  }
  return passphrase;
}

function closedKey(reason: string): SallyportError {
  return new SallyportError(
    'STORE_LOCKED',
    `The encrypted secrets are locked: ${reason}. Name a file that holds it with SALLYPORT_STORE_PASSPHRASE_FILE (a daemon that is running has the environment that it was started with).`,
  );
}

function damaged(path: string): SallyportError {
  return new SallyportError(
    'STORE_CORRUPT',
    `The file of a secret's value is damaged; it was put aside as ${JSON.stringify(path)}. Set the secret again, or put the file back from a copy.`,
  );
}

function ioFailure(verb: 'read' | 'written' | 'made' | 'removed', path: string, cause: unknown): SallyportError {
  return new SallyportError(
    'STORE_FAILED',
    `${JSON.stringify(path)} cannot be ${verb} (${reasonOf(cause)}). Check that the disk has room and that the state directory is yours.`,
    { cause },
  );
}

function isMissing(error: unknown): boolean {
  return hasCode(error, 'ENOENT');
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
