import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { FileStep } from './durable-file.ts';
import { FileStore } from './file-store.ts';
import { sessionBusAddress } from './keychain-process.ts';
import { explainKeychain, KeychainStore } from './keychain-store.ts';
import { MemoryStore } from './memory-store.ts';
import { STORE_KINDS, type SecretStore, type StoreKind } from './secret-store.ts';

/** Where values go: by the machine, or by name. */
export const STORE_CHOICES = ['auto', ...STORE_KINDS] as const;
export type StoreChoice = (typeof STORE_CHOICES)[number];

/** The files of {@link FileStore}, in the state directory. */
const FILE_DIRECTORY = 'secrets';
const SETTING = 'store';
/** Set when something may be in the keychain. */
const KEYCHAIN_SETTING = 'keychain';
const VARIABLE = 'SALLYPORT_STORE';

/** Shown where an encrypted file takes the place of the keychain. */
const FILE_NOTICE = 'No keychain detected: this secret is stored in an encrypted file on disk.';

/** What the stores are found by. */
export interface StoreChooserOptions {
  readonly stateDirectory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly keychainService: string;
  readonly askPassphrase?: (() => Promise<string | null>) | undefined;
  /** Goes before `SALLYPORT_STORE`, which goes before the setting. */
  readonly choice?: StoreChoice | undefined;
  /** For tests. */
  readonly onFileStep?: ((step: FileStep) => void) | undefined;
  readonly setting: {
    readonly read: (name: string) => string | undefined;
    readonly write: (name: string, value: string | null) => void;
  };
}

/** The stores of a state directory, each opened when it is needed, and which of them the next value goes to. */
export class StoreChooser {
  readonly #options: StoreChooserOptions;
  readonly #keychain: KeychainStore;
  readonly #files: FileStore;
  readonly #memory = new MemoryStore();
  readonly #override: StoreChoice | null;
  #isKeychainAbsent: boolean | null = null;

  /** @throws SallyportError USAGE for a `SALLYPORT_STORE` that is no store */
  constructor(options: StoreChooserOptions) {
    this.#options = options;
    const { stateDirectory, environment, keychainService, askPassphrase, onFileStep } = options;
    // Neither does anything before it is used.
    this.#keychain = new KeychainStore({ service: keychainService, environment });
    const directory = join(stateDirectory, FILE_DIRECTORY);
    this.#files = new FileStore({ directory, environment, askPassphrase, onStep: onFileStep });
    const variable = environment[VARIABLE];
    this.#override =
      options.choice ?? (variable === undefined || variable === '' ? null : parseStoreChoice(variable, VARIABLE));
  }

  get likelyKind(): StoreKind {
    const choice = this.#choice;
    if (choice !== 'auto') return choice;
    const mayHaveKeychain = process.platform !== 'linux' || sessionBusAddress(this.#options.environment) !== null;
    return mayHaveKeychain && this.#isKeychainAbsent !== true ? 'keychain' : 'file';
  }

  /** What is in force: an option, `SALLYPORT_STORE`, the setting, else `auto`. */
  get choice(): StoreChoice {
    return this.#choice;
  }

  setSetting(choice: StoreChoice | null): void {
    this.#options.setting.write(SETTING, choice);
  }

  /**
   * The store that the next value goes to, and what its owner should know of that. A keychain is looked for each time, so one that has appeared is used.
   *
   * @param asked goes before everything else.
   * @throws SallyportError STORE_LOCKED where there is a keychain that is locked: a file in its place would be a surprise
   */
  async choose(asked?: StoreChoice): Promise<{ store: SecretStore; notice: string | null }> {
    const choice = asked ?? this.#choice;
    if (choice === 'keychain') this.#noteKeychain();
    if (choice !== 'auto') return { store: this.open(choice), notice: null };
    const state = await this.#keychain.probe();
    this.#isKeychainAbsent = state !== 'open' && state.trouble === 'absent';
    if (state === 'open') {
      this.#noteKeychain();
      return { store: this.#keychain, notice: null };
    }
    if (state.trouble === 'locked') throw explainKeychain('locked', state.detail);
    return { store: this.open('file'), notice: `${FILE_NOTICE} (The keychain: ${state.detail}.)` };
  }

  /** The store of a kind, which values may be in already. @throws SallyportError STORE_FAILED for a kind that is not known */
  open(kind: StoreKind): SecretStore {
    switch (kind) {
      case 'keychain':
        return this.#keychain;
      case 'file':
        return this.#files;
      case 'memory':
        return this.#memory;
      default:
        // A later version may have more.
        throw new SallyportError(
          'STORE_FAILED',
          `There is no store ${JSON.stringify(kind)}. Use the newest Sallyport.`,
        );
    }
  }

  /** Removes all files. @throws SallyportError STORE_FAILED */
  eraseFiles(): void {
    this.#files.erase();
  }

  /** Removes the items of this state directory in the keychain, where there may be any, but for what others have put there meanwhile. */
  async eraseKeychain(isKept: (key: string) => boolean): Promise<void> {
    const { setting } = this.#options;
    if (setting.read(KEYCHAIN_SETTING) === undefined) return;
    await this.#keychain.erase(isKept);
    setting.write(KEYCHAIN_SETTING, null);
  }

  async close(): Promise<void> {
    await Promise.all([this.#files.close(), this.#keychain.close(), this.#memory.close()]);
  }

  #noteKeychain(): void {
    const { setting } = this.#options;
    if (setting.read(KEYCHAIN_SETTING) === undefined) setting.write(KEYCHAIN_SETTING, 'used');
  }

  get #choice(): StoreChoice {
    if (this.#override !== null) return this.#override;
    const setting = this.#options.setting.read(SETTING);
    return setting === undefined ? 'auto' : parseStoreChoice(setting, 'the setting of the book');
  }
}

/** @throws SallyportError USAGE */
export function parseStoreChoice(text: string, origin: string): StoreChoice {
  const choice = STORE_CHOICES.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw new SallyportError(
    'USAGE',
    `${origin} names the store ${JSON.stringify(text)}; there are ${STORE_CHOICES.join(', ')}.`,
  );
}
