import { existsSync, watch as watchFiles, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { RuleBook } from '../stores/rule-book.ts';
import type { StoredRule } from '../stores/stored-rule.ts';

/** In the state directory, where anything is stored: the name is `stores/`'s, which is loaded only then. */
export const BOOK_FILE = 'book.db';

/** The stored rules of a `run`, which follows changes. Nothing of SQLite is loaded while nothing is stored. */
export class RunRules {
  readonly #stateDirectory: string;
  readonly #sandbox: string;
  #book: RuleBook | null = null;
  #stored: readonly StoredRule[] = [];
  #watch: { close(): void } | null = null;
  #directoryWatch: FSWatcher | null = null;
  #enforce: (() => Promise<void>) | null = null;
  #onProblem: (problem: string) => void = () => undefined;

  private constructor(stateDirectory: string, sandbox: string) {
    this.#stateDirectory = stateDirectory;
    this.#sandbox = sandbox;
  }

  /** Reads what is stored for a sandbox of this name, where anything is. @throws SallyportError STORE_CORRUPT, STORE_FAILED */
  static async open(stateDirectory: string, sandbox: string): Promise<RunRules> {
    const rules = new RunRules(stateDirectory, sandbox);
    await rules.#openBook();
    return rules;
  }

  /** The rules that count, as they were last read. */
  get stored(): readonly StoredRule[] {
    return this.#stored;
  }

  /** From here on changes are put into force by `enforce`; those that came before as well. @param onProblem hears of what could not be. */
  async follow(enforce: () => Promise<void>, onProblem: (problem: string) => void): Promise<void> {
    this.#enforce = enforce;
    this.#onProblem = onProblem;
    if (this.#book === null && existsSync(this.#stateDirectory)) {
      // The first rule that is ever stored makes the book.
      this.#directoryWatch = watchFiles(this.#stateDirectory, { persistent: false }, () => void this.#take());
      this.#directoryWatch.on('error', () => this.#directoryWatch?.close());
    }
    await this.#take();
  }

  close(): void {
    this.#enforce = null;
    this.#watch?.close();
    this.#directoryWatch?.close();
    this.#book?.close();
    this.#book = null;
  }

  async #openBook(): Promise<void> {
    if (this.#book !== null || !existsSync(join(this.#stateDirectory, BOOK_FILE))) return;
    const { RuleBook: Book } = await import('../stores/rule-book.ts');
    // Another event may have opened it meanwhile.
    if (this.#book !== null) return;
    this.#book = new Book(this.#stateDirectory);
    this.#stored = this.#book.listFor(this.#sandbox);
  }

  /** Never rejects: what is in force stays so, and people are told. */
  async #take(): Promise<void> {
    try {
      const before = JSON.stringify(this.#stored);
      await this.#openBook();
      const book = this.#book;
      if (book === null || this.#enforce === null) return;
      if (this.#watch === null) {
        this.#watch = book.watch(() => void this.#take());
        this.#directoryWatch?.close();
      }
      this.#stored = book.listFor(this.#sandbox);
      if (JSON.stringify(this.#stored) !== before) await this.#enforce();
    } catch (error) {
      this.#onProblem(error instanceof SallyportError ? error.message : 'it could not be taken in, which is a defect.');
    }
  }
}
