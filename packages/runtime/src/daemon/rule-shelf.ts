import type { Preset } from '../policy/presets.ts';
import { RuleBook, type RuleDraft } from '../stores/rule-book.ts';
import type { StoredRule } from '../stores/stored-rule.ts';

/** What {@link RuleShelf.open} needs. */
export interface RuleShelfOptions {
  readonly stateDirectory: string;
  /** Hears of each change of what is stored, whoever made it. */
  readonly onChange: () => void;
}

/** The daemon's view of stored rules. The book is opened when there is one, and made when something is to be stored. */
export class RuleShelf {
  readonly #options: RuleShelfOptions;
  #book: RuleBook | null = null;

  private constructor(options: RuleShelfOptions) {
    this.#options = options;
  }

  /** @throws SallyportError STORE_CORRUPT, STORE_FAILED when what is stored cannot be read. */
  static open(options: RuleShelfOptions): RuleShelf {
    const shelf = new RuleShelf(options);
    if (RuleBook.exists(options.stateDirectory)) shelf.#open().list();
    return shelf;
  }

  /** All rules, or those that are for one sandbox alone. @throws SallyportError STORE_CORRUPT, STORE_FAILED */
  list(sandbox?: string): readonly StoredRule[] {
    const rules = this.#present()?.list() ?? [];
    return sandbox === undefined ? rules : rules.filter((rule) => rule.sandbox === sandbox);
  }

  /** The rules that count in a sandbox. @throws SallyportError STORE_CORRUPT, STORE_FAILED */
  listFor(sandbox: string): readonly StoredRule[] {
    return this.#present()?.listFor(sandbox) ?? [];
  }

  /** As {@link RuleBook.add}. */
  add(drafts: readonly RuleDraft[]): readonly StoredRule[] {
    return this.#open().add(drafts);
  }

  /** As {@link RuleBook.remove}. */
  remove(sandbox: string | null, pattern: string, action: 'allow' | 'deny' | null): readonly StoredRule[] {
    return this.#present()?.remove(sandbox, pattern, action) ?? [];
  }

  /** As {@link RuleBook.reset}. */
  reset(sandbox?: string): readonly StoredRule[] {
    const removed = this.list(sandbox);
    this.#present()?.reset(sandbox);
    return removed;
  }

  /** As {@link RuleBook.usePreset}. */
  usePreset(preset: Preset): readonly StoredRule[] {
    this.#open().usePreset(preset);
    return this.list().filter((rule) => rule.preset === preset.name);
  }

  close(): void {
    this.#book?.close();
    this.#book = null;
  }

  /** Somebody else may have made the book since. */
  #present(): RuleBook | null {
    return this.#book === null && !RuleBook.exists(this.#options.stateDirectory) ? null : this.#open();
  }

  #open(): RuleBook {
    if (this.#book !== null) return this.#book;
    const book = new RuleBook(this.#options.stateDirectory);
    this.#book = book;
    book.watch(this.#options.onChange);
    return book;
  }
}
