import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { FileStore } from './file-store.ts';
import { MemoryStore } from './memory-store.ts';
import { STORE_KINDS, type SecretStore, type StoreKind } from './secret-store.ts';

/** Where values go: by the machine, or by name. */
export const STORE_CHOICES = ['auto', ...STORE_KINDS] as const;
export type StoreChoice = (typeof STORE_CHOICES)[number];

/** The files of {@link FileStore}, in the state directory. */
const FILE_DIRECTORY = 'secrets';
const SETTING = 'store';
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
  readonly setting: {
    readonly read: (name: string) => string | undefined;
    readonly write: (name: string, value: string | null) => void;
  };
}

/** The stores of a state directory, each opened when it is needed, and which of them the next value goes to. */
export class StoreChooser {
  readonly #options: StoreChooserOptions;
  readonly #stores = new Map<StoreKind, SecretStore>();
  readonly #override: StoreChoice | null;

  /** @throws SallyportError USAGE for a `SALLYPORT_STORE` that is no store */
  constructor(options: StoreChooserOptions) {
    this.#options = options;
    const variable = options.environment[VARIABLE];
    this.#override =
      options.choice ?? (variable === undefined || variable === '' ? null : parseStoreChoice(variable, VARIABLE));
  }

  get likelyKind(): StoreKind {
    const choice = this.#choice;
    return choice === 'auto' ? 'file' : choice;
  }

  setSetting(choice: StoreChoice | null): void {
    this.#options.setting.write(SETTING, choice);
  }

  /** The store that the next value goes to, and what its owner should know of that. */
  async choose(): Promise<{ store: SecretStore; notice: string | null }> {
    const choice = this.#choice;
    if (choice !== 'auto') return { store: this.open(choice), notice: null };
    return await Promise.resolve({ store: this.open('file'), notice: FILE_NOTICE });
  }

  /** The store of a kind, which values may be in already. @throws SallyportError STORE_FAILED for a kind that is not known */
  open(kind: StoreKind): SecretStore {
    const opened = this.#stores.get(kind);
    if (opened !== undefined) return opened;
    const store = this.#make(kind);
    this.#stores.set(kind, store);
    return store;
  }

  /** Removes what the stores have of this state directory. */
  async erase(_isKeychainUsed: boolean): Promise<void> {
    const files = this.open('file');
    if (files instanceof FileStore) await files.erase();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#stores.values()].map(async (store) => await store.close()));
    this.#stores.clear();
  }

  get #choice(): StoreChoice {
    if (this.#override !== null) return this.#override;
    const setting = this.#options.setting.read(SETTING);
    return setting === undefined ? 'auto' : parseStoreChoice(setting, 'the setting of the book');
  }

  #make(kind: StoreKind): SecretStore {
    const { stateDirectory, environment, askPassphrase } = this.#options;
    switch (kind) {
      case 'file':
        return new FileStore({ directory: join(stateDirectory, FILE_DIRECTORY), environment, askPassphrase });
      case 'memory':
        return new MemoryStore();
      case 'keychain':
      default:
        throw new SallyportError('STORE_FAILED', `There is no store ${JSON.stringify(kind)}.`);
    }
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
