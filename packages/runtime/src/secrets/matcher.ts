import type { CompiledForms, Form, View } from './forms.ts';
import { ROOT } from './matcher-automaton.ts';
import { EscapeReader, INCOMPLETE_ESCAPE, possibleFirstBytes } from './matcher-escape.ts';

/** No form has begun. */
export const NOWHERE = Number.POSITIVE_INFINITY;

/** Called for each form that ends; of several that end together in one reading only the longest. */
export type MatchListener = (start: number, end: number, form: Form, leftDigit: number, rightDigit: number) => void;

/** Runs longer than this are moved instead of copied when an escape gives a text a second reading. */
const COPY_LIMIT = 32;

/** One reading of the text up to a position: its state and where its latest symbols began. */
class Thread {
  node = ROOT;
  /** How many symbols are known: at least the latest `depth(node) + 1` since the last byte outside the alphabet. */
  count = 0;
  /** Where each symbol began. Longer than `count`, because cutting an array costs more than writing over its end. */
  places: number[] = [];
  /** The symbols themselves, as `places`. */
  digits: number[] = [];

  copy(keep: number): Thread {
    const thread = new Thread();
    const from = Math.max(0, this.count - keep);
    thread.node = this.node;
    thread.count = this.count - from;
    thread.places = this.places.slice(from, this.count);
    thread.digits = this.digits.slice(from, this.count);
    return thread;
  }

  push(symbol: number, place: number, depth: number): void {
    if (this.count > 2 * depth + 64) {
      const from = this.count - depth - 1;
      for (let i = from; i < this.count; i++) {
        this.places[i - from] = this.places[i]!;
        this.digits[i - from] = this.digits[i]!;
      }
      this.count = depth + 1;
    }
    this.places[this.count] = place;
    this.digits[this.count] = symbol;
    this.count++;
  }

  clear(): void {
    this.node = ROOT;
    this.count = 0;
  }

  /** The place of the `back`-th symbol from the end, 1 being the last. */
  place(back: number): number | undefined {
    return back <= this.count ? this.places[this.count - back] : undefined;
  }

  digit(back: number): number | undefined {
    return back <= this.count ? this.digits[this.count - back] : undefined;
  }
}

/** A reading that goes on behind an escape. */
interface Arrival {
  readonly at: number;
  readonly thread: Thread;
}

/** All readings of a text by one {@link View}. More than one exists only around escapes. */
class ViewRun {
  readonly #view: View;
  #threads: Thread[] = [new Thread()];
  #arrivals: Arrival[] = [];

  constructor(view: View) {
    this.#view = view;
  }

  copy(): ViewRun {
    const copy = new ViewRun(this.#view);
    const { depth } = this.#view.automaton;
    copy.#threads = this.#threads.map((thread) => thread.copy(depth[thread.node]! + 1));
    copy.#arrivals = this.#arrivals.map(({ at, thread }) => ({ at, thread: thread.copy(depth[thread.node]! + 1) }));
    return copy;
  }

  /** Whether no form has begun (but perhaps with the digit that it shares with its neighbour). */
  get idle(): boolean {
    return this.#arrivals.length === 0 && this.#threads.length === 1 && this.#threads[0]!.node === ROOT;
  }

  /** Reads the byte at `at`, and the escape of `escapeLength` bytes that begins there, if it is not 0. */
  step(byte: number, at: number, escapeLength: number, reader: EscapeReader, listener: MatchListener): void {
    const { automaton, symbols, escapes } = this.#view;
    const symbol = symbols[byte]!;
    if (escapeLength === 0 && this.#arrivals.length === 0 && this.#threads.length === 1) {
      // The common case by itself: no escape near, so there is one reading.
      const thread = this.#threads[0]!;
      const next = symbol < 0 ? ROOT : automaton.next(thread.node, symbol);
      if (symbol < 0 || (next === ROOT && this.#view.left === undefined)) {
        thread.clear();
        return;
      }
      thread.node = next;
      thread.push(symbol, at, automaton.depth[next]!);
      if (automaton.out[next] !== ROOT) {
        this.#report(thread, at + 1, listener);
      }
      return;
    }
    for (const thread of this.#threads) {
      const next = symbol < 0 ? ROOT : automaton.next(thread.node, symbol);
      if (escapes && escapeLength > 0) {
        this.#branch(thread, next, at, escapeLength, reader);
      }
      if (symbol < 0 || (next === ROOT && this.#view.left === undefined)) {
        thread.clear();
      } else {
        thread.node = next;
        thread.push(symbol, at, automaton.depth[next]!);
      }
    }
    const now = at + 1;
    if (this.#arrivals.length > 0) {
      this.#arrive(now);
    }
    if (this.#threads.length > 1) {
      this.#dropRepeated();
    }
    for (const thread of this.#threads) {
      if (automaton.out[thread.node] !== ROOT) {
        this.#report(thread, now, listener);
      }
    }
  }

  #arrive(now: number): void {
    const waiting: Arrival[] = [];
    for (const arrival of this.#arrivals) {
      if (arrival.at === now) {
        this.#threads.push(arrival.thread);
      } else {
        waiting.push(arrival);
      }
    }
    if (waiting.length < this.#arrivals.length) {
      this.#arrivals = waiting;
    }
  }

  /** Starts the reading in which the escape stands for what it decodes to. */
  #branch(thread: Thread, rawNext: number, at: number, length: number, reader: EscapeReader): void {
    const { automaton, symbols, left } = this.#view;
    let node = thread.node;
    for (let i = 0; i < reader.count; i++) {
      const symbol = symbols[reader.bytes[i]!]!;
      if (symbol < 0) {
        return;
      }
      node = automaton.next(node, symbol);
    }
    const depth = automaton.depth[node]!;
    if (depth === 0 && left === undefined) {
      return;
    }
    let branch: Thread;
    const rawDepth = automaton.depth[rawNext]!;
    if (depth > COPY_LIMIT && rawDepth <= COPY_LIMIT) {
      branch = new Thread();
      const kept = thread.copy(COPY_LIMIT + 1);
      branch.places = thread.places;
      branch.digits = thread.digits;
      branch.count = thread.count;
      thread.places = kept.places;
      thread.digits = kept.digits;
      thread.count = kept.count;
    } else {
      branch = thread.copy(depth + 1);
    }
    branch.node = node;
    for (let i = 0; i < reader.count; i++) {
      branch.push(symbols[reader.bytes[i]!]!, at, depth);
    }
    this.#arrivals.push({ at: at + length, thread: branch });
  }

  /** Drops every reading that another one contains. */
  #dropRepeated(): void {
    const { automaton } = this.#view;
    const threads = this.#threads.sort((a, b) => automaton.depth[b.node]! - automaton.depth[a.node]!);
    const kept: Thread[] = [];
    for (const thread of threads) {
      if (!kept.some((other) => this.#contains(other, thread))) {
        kept.push(thread);
      }
    }
    this.#threads = kept;
  }

  #contains(outer: Thread, inner: Thread): boolean {
    const { automaton, left } = this.#view;
    const depth = automaton.depth[inner.node]!;
    if (depth > 0 && outer.place(depth) !== inner.place(depth)) {
      return false;
    }
    if (left !== undefined && inner.count > depth) {
      if (outer.place(depth + 1) !== inner.place(depth + 1)) {
        return false;
      }
      if (outer.digit(depth + 1) !== inner.digit(depth + 1)) {
        return false;
      }
    }
    let node = outer.node;
    while (automaton.depth[node]! > depth && depth > 0) {
      node = automaton.fail[node]!;
    }
    return depth === 0 || node === inner.node;
  }

  #report(thread: Thread, end: number, listener: MatchListener): void {
    const { automaton, forms, formsAt } = this.#view;
    const { places, digits } = thread;
    let node = automaton.out[thread.node]!;
    while (node !== ROOT) {
      const depth = automaton.depth[node]!;
      const first = thread.count - depth;
      const candidates = forms[formsAt[node]! - 1]!;
      let whole: Form | undefined;
      for (const form of candidates) {
        if (form.leftBits === 0) {
          whole ??= form;
        } else if (first > 0 && (digits[first - 1]! & ((1 << form.leftBits) - 1)) === form.left) {
          listener(places[first - 1]!, end, form, digits[first - 1]!, thread.digit(1)!);
          return;
        }
      }
      if (whole !== undefined) {
        listener(places[first]!, end, whole, 0, thread.digit(1)!);
        return;
      }
      node = automaton.out[automaton.fail[node]!]!;
    }
  }

  /** Where the earliest form began that more bytes could complete, or {@link NOWHERE}. */
  liveStart(): number {
    let start = NOWHERE;
    for (const thread of this.#threads) {
      start = Math.min(start, this.#liveStartOf(thread));
    }
    for (const { thread } of this.#arrivals) {
      start = Math.min(start, this.#liveStartOf(thread));
    }
    return start;
  }

  #liveStartOf(thread: Thread): number {
    const { automaton, left } = this.#view;
    const { places } = thread;
    let node = automaton.live[thread.node]!;
    for (;;) {
      const first = thread.count - automaton.depth[node]!;
      if (left === undefined) {
        return node === ROOT ? NOWHERE : places[first]!;
      }
      if (this.#fitsLeft(thread, node, first)) {
        return places[first - 1]!;
      }
      if (node === ROOT) {
        return NOWHERE;
      }
      if (left.none[node] === 1) {
        return places[first]!;
      }
      node = automaton.live[automaton.fail[node]!]!;
    }
  }

  /** Whether the digit before the latest `depth(node)` ones can be the one that a form from `node` on shares with its neighbour. */
  #fitsLeft(thread: Thread, node: number, first: number): boolean {
    const { left } = this.#view;
    return left !== undefined && first > 0 && hasDigit(left, node, thread.digits[first - 1]!);
  }

  /** As {@link ViewRun.liveStart}, for forms that go on with the escape of which `data[at..end)` is the beginning, at `place`. */
  liveStartWithEscape(data: Uint8Array, at: number, end: number, place: number): number {
    if (!this.#view.escapes) {
      return NOWHERE;
    }
    let start = NOWHERE;
    const ranges = possibleFirstBytes(data, at, end);
    for (const thread of this.#threads) {
      for (const [low, high] of ranges) {
        for (let byte = low; byte <= high; byte++) {
          const symbol = this.#view.symbols[byte]!;
          if (symbol >= 0) {
            start = Math.min(start, this.#liveStartAfter(thread, symbol, place));
          }
        }
      }
    }
    return start;
  }

  #liveStartAfter(thread: Thread, symbol: number, place: number): number {
    const { automaton, left } = this.#view;
    let node = automaton.next(thread.node, symbol);
    for (;;) {
      if (node === ROOT) {
        return left !== undefined && hasDigit(left, ROOT, symbol) ? place : NOWHERE;
      }
      const before = automaton.depth[node]! - 1;
      const first = thread.count - before;
      if (this.#fitsLeft(thread, node, first)) {
        return thread.places[first - 1]!;
      }
      if (left === undefined || left.none[node] === 1) {
        return before === 0 ? place : thread.places[first]!;
      }
      node = automaton.fail[node]!;
    }
  }
}

function hasDigit(left: NonNullable<View['left']>, node: number, digit: number): boolean {
  const bits = digit < 32 ? left.low[node]! : left.high[node]!;
  return ((bits >>> (digit & 31)) & 1) === 1;
}

/**
 * Looks at every byte from some position on until no form can have begun: the exact, slower half of the search.
 *
 * Positions are offsets in the whole stream; `origin` is the offset of `data[0]`.
 */
export class Matcher {
  /** The next position to read. */
  position = 0;
  /** Whether reading stopped at an escape that is not complete. */
  stalled = false;

  readonly #forms: CompiledForms;
  readonly #reader: EscapeReader;
  readonly #listener: MatchListener;
  #views: ViewRun[];

  constructor(forms: CompiledForms, listener: MatchListener) {
    this.#forms = forms;
    this.#reader = new EscapeReader(forms.plus);
    this.#listener = listener;
    this.#views = forms.views.map((view) => new ViewRun(view));
  }

  get idle(): boolean {
    if (this.stalled) {
      return false;
    }
    for (const view of this.#views) {
      if (!view.idle) {
        return false;
      }
    }
    return true;
  }

  /** Forgets everything and goes to `position`. */
  restart(position: number): void {
    this.position = position;
    this.stalled = false;
    this.#views = this.#forms.views.map((view) => new ViewRun(view));
  }

  /**
   * Reads one byte; false when it is the start of an escape that is not complete and more bytes may come.
   */
  step(data: Uint8Array, origin: number, final: boolean): boolean {
    const index = this.position - origin;
    const byte = data[index]!;
    let length = 0;
    if (this.#reader.starts(byte)) {
      length = this.#reader.read(data, index, data.length);
      if (length === INCOMPLETE_ESCAPE) {
        if (!final) {
          this.stalled = true;
          return false;
        }
        length = 0;
      }
    }
    this.stalled = false;
    for (const view of this.#views) {
      view.step(byte, this.position, length, this.#reader, this.#listener);
    }
    this.position++;
    return true;
  }

  /** Where the earliest form began that more bytes could complete, or {@link NOWHERE}. */
  liveStart(data: Uint8Array, origin: number): number {
    let start = NOWHERE;
    if (!this.stalled) {
      for (const view of this.#views) {
        start = Math.min(start, view.liveStart());
      }
      return start;
    }
    // What follows the stall may be read in two ways: as an escape of which the end is to come, or byte by byte.
    const listener: MatchListener = (from) => {
      start = Math.min(start, from);
    };
    for (const view of this.#views) {
      const run = view.copy();
      for (let index = this.position - origin; index < data.length; index++) {
        let length = 0;
        if (this.#reader.starts(data[index]!)) {
          length = this.#reader.read(data, index, data.length);
          if (length === INCOMPLETE_ESCAPE) {
            start = Math.min(start, run.liveStartWithEscape(data, index, data.length, origin + index));
            length = 0;
          }
        }
        run.step(data[index]!, origin + index, length, this.#reader, listener);
      }
      start = Math.min(start, run.liveStart());
    }
    return start;
  }
}
