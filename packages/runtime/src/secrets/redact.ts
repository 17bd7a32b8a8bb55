import { alignedPlaceholder, compileForms, renderReplacement } from './forms.ts';
import type { CompiledForms, Form, RedactionRule } from './forms.ts';
import { EscapeReader, MAX_ESCAPE_BYTES } from './matcher-escape.ts';
import { EscapeSearch } from './matcher-escape-search.ts';
import { Matcher } from './matcher.ts';

export type { RedactionRule } from './forms.ts';

const NOTHING = Buffer.alloc(0);

const PERCENT = 0x25;
const PLUS = 0x2b;
const BACKSLASH = 0x5c;

/** The longest escape of one byte, `\u0061`. */
const BYTES_FOR_SYMBOL = 6;

/** A form that was found and what is to be written for it. */
interface Tile {
  readonly start: number;
  /** Grows when other forms overlap it. */
  end: number;
  readonly form: Form;
  readonly leftDigit: number;
  rightDigit: number;
  /** Whether the last base64 digit belongs to the next tile, which carries bits of both. */
  shared: boolean;
  /** Whether it took in what overlapped it. */
  grown: boolean;
}

/**
 * Turns every form of every value back into its placeholder. Shared by all connections of a sandbox.
 *
 * The forms: the value itself; base64 and base64url of it inside anything, at all three alignments; hexadecimal in any case; any mix of
 * percent escapes (with `+` for a space) and JSON escapes. The digits of base64 may themselves be escaped. The output decodes as the input
 * did: inside base64 the alignment stays (the placeholder is padded with `_`), hexadecimal stays hexadecimal.
 *
 * Of overlapping forms the leftmost is replaced, of those the longest; what other forms cover beyond it is taken out with it, so
 * no part of a value stays.
 *
 * Not found: base64 with line breaks inside, and any other transformation.
 */
export class Redactor {
  #forms: CompiledForms;

  /** @throws SallyportError SECRET_VALUE_TOO_SHORT below 8 bytes of UTF-8, INVALID_SECRET_VALUE above 64 KiB. */
  constructor(rules: readonly RedactionRule[]) {
    this.#forms = compileForms(rules);
  }

  /** What it looks for at present; compared by identity. */
  get forms(): CompiledForms {
    return this.#forms;
  }

  /** Looks for other values from now on, in streams that have begun as well. @throws as the constructor; nothing changes then. */
  replaceRules(rules: readonly RedactionRule[]): void {
    this.#forms = compileForms(rules);
  }

  /** Redacts a header value or the like (one character a byte); the same string when nothing is found. */
  redactText(latin1: string): string {
    return this.redactTextCounted(latin1).text;
  }

  /** As {@link Redactor.redactText}, with the count of what was replaced. */
  redactTextCounted(latin1: string): { readonly text: string; readonly matches: number } {
    const { filter, plus } = this.#forms;
    if (
      filter !== undefined &&
      !latin1.includes('%') &&
      !latin1.includes('\\') &&
      !(plus && latin1.includes('+')) &&
      !filter.mayOccurIn(latin1)
    ) {
      return { text: latin1, matches: 0 };
    }
    const stream = this.stream();
    const redacted = stream.finish(Buffer.from(latin1, 'latin1'));
    return stream.matches === 0
      ? { text: latin1, matches: 0 }
      : { text: redacted.toString('latin1'), matches: stream.matches };
  }

  /** Redacts a whole body; the same instance when nothing is found. */
  redactBytes(bytes: Buffer): Buffer {
    return this.stream().finish(bytes);
  }

  /**
   * Whether `bytes[start, end)` certainly holds no form: one quick look, which says no for many texts that hold none either.
   *
   * It speaks of these bytes alone: a form that begins before or ends behind them is not seen.
   */
  isClean(bytes: Buffer, start: number = 0, end: number = bytes.length): boolean {
    const { filter, plus } = this.#forms;
    if (filter === undefined) return false;
    if (hasByte(bytes, PERCENT, start, end) || hasByte(bytes, BACKSLASH, start, end)) return false;
    if (plus && hasByte(bytes, PLUS, start, end)) return false;
    return filter.find(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), start, end) === -1;
  }

  /** Starts a body that comes in chunks. */
  stream(): RedactionStream {
    return new RedactionStream(this);
  }
}

/**
 * Redacts a body chunk by chunk. The output is the same for any chunking.
 *
 * Only bytes that may be the beginning of a form are held back, at most the longest form (six times the value) and the digit that it may
 * share with its neighbour. What is returned may be a part of the chunk: a caller that reuses chunks writes it out first.
 */
export class RedactionStream {
  /** How many forms were replaced. */
  matches = 0;

  readonly #source: { readonly forms: CompiledForms };
  #forms: CompiledForms;
  #reader: EscapeReader;
  #matcher: Matcher | undefined;
  /** Bytes held back; with room behind them in `#store`. */
  #held: Buffer = NOTHING;
  #store: Buffer = NOTHING;
  /** Offset of the first held byte, or of the next chunk. */
  #origin = 0;
  /** Everything before this offset has been written or dropped. */
  #done = 0;
  #tiles: Tile[] = [];
  #data: Buffer = NOTHING;
  #pieces: Buffer[] = [];

  constructor(source: { readonly forms: CompiledForms }) {
    this.#source = source;
    this.#forms = source.forms;
    this.#reader = new EscapeReader(this.#forms.plus);
  }

  /** How many bytes are held back. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** Takes the next chunk; returns what can be passed on (the chunk itself where nothing is found or held). */
  push(chunk: Buffer): Buffer {
    return this.#pass(chunk, false);
  }

  /** Writes the bytes held back to `target` at `offset`; returns how many. */
  copyHeld(target: Buffer, offset: number): number {
    return this.#held.copy(target, offset);
  }

  /** As {@link RedactionStream.push}, of a chunk that begins with the bytes held back: nothing is moved. */
  pushBehindHeld(data: Buffer): Buffer {
    const held = this.#held.length;
    if (this.#source.forms === this.#forms) return this.#process(data, held, false);
    this.#restart();
    return this.#process(data, 0, false);
  }

  /** The end: returns what was held back. */
  end(): Buffer {
    return this.#pass(NOTHING, true);
  }

  /** A last chunk and the end in one. */
  finish(chunk: Buffer): Buffer {
    return this.#pass(chunk, true);
  }

  #pass(chunk: Buffer, final: boolean): Buffer {
    if (this.#source.forms === this.#forms) return this.#process(this.#join(chunk), this.#held.length, final);
    const held = this.#held;
    this.#restart();
    if (held.length === 0) return this.#process(chunk, 0, final);
    return this.#process(chunk.length === 0 ? held : Buffer.concat([held, chunk]), 0, final);
  }

  /**
   * Begins anew for other values. What is held back goes through it once more: it may be the beginning of a value that both look for.
   */
  #restart(): void {
    this.#forms = this.#source.forms;
    this.#reader = new EscapeReader(this.#forms.plus);
    this.#matcher = undefined;
    this.#held = NOTHING;
    this.#store = NOTHING;
    this.#origin = 0;
    this.#done = 0;
    this.#tiles = [];
  }

  /** @param from how many bytes of `data` have been looked at. */
  #process(data: Buffer, from: number, final: boolean): Buffer {
    if (data.length === 0 || this.#forms.views[0]!.automaton.size === 1) {
      return data;
    }
    this.#data = data;
    this.#done = this.#origin;
    const live = this.#search(data, from, final);
    const end = this.#origin + data.length;
    const keepFrom = Math.min(live, end, this.#tiles[0]?.start ?? end);
    this.#emitRaw(keepFrom);
    return this.#release(data, this.#done - this.#origin);
  }

  /** Puts the chunk behind the held bytes. */
  #join(chunk: Buffer): Buffer {
    const held = this.#held;
    if (held.length === 0) {
      return chunk;
    }
    if (chunk.length === 0) {
      return held;
    }
    const length = held.length + chunk.length;
    if (this.#store.length < length) {
      // Room to grow is worth it only for small chunks behind a long beginning.
      this.#store = Buffer.allocUnsafe(chunk.length < held.length ? length * 2 : length);
      held.copy(this.#store);
    }
    chunk.copy(this.#store, held.length);
    return this.#store.subarray(0, length);
  }

  #release(data: Buffer, released: number): Buffer {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#data = NOTHING;
    this.#origin += released;
    if (released === 0 && pieces.length === 0) {
      if (
        this.#store.length === 0 ||
        data.buffer !== this.#store.buffer ||
        data.byteOffset !== this.#store.byteOffset
      ) {
        // The caller's chunk may be reused by it.
        this.#store = Buffer.from(data);
        this.#held = this.#store;
      } else {
        this.#held = data;
      }
      return NOTHING;
    }
    // The output may point into the store, so that one is given away.
    this.#held = released === data.length ? NOTHING : Buffer.from(data.subarray(released));
    this.#store = this.#held;
    if (pieces.length === 0) {
      return NOTHING;
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  /**
   * Finds all forms in `data`, of which the bytes before `from` have been searched already.
   *
   * @returns where the earliest form begins that is not complete.
   */
  #search(data: Buffer, from: number, final: boolean): number {
    const origin = this.#origin;
    let index = from;
    const matcher = this.#matcher;
    if (matcher !== undefined && matcher.stalled && matcher.position < origin) {
      // The escape turned out not to belong to any form, and what came before it has been written.
      matcher.restart(origin);
      index = this.#follow(data, origin, final);
    } else if (matcher !== undefined && (matcher.stalled || matcher.position === origin + from)) {
      index = this.#follow(data, matcher.position, final);
    }
    const { filter } = this.#forms;
    if (filter === undefined) {
      index = this.#follow(data, origin + data.length, final, origin + index);
    } else {
      index = this.#scan(data, index, final);
    }
    if (final) {
      this.#commit(Number.POSITIVE_INFINITY);
      return Number.POSITIVE_INFINITY;
    }
    return this.#searchTail(data, index);
  }

  /** Passes over everything that the filter rules out, and has the matcher look at the rest. Returns where it stopped. */
  #scan(data: Buffer, from: number, final: boolean): number {
    const filter = this.#forms.filter!;
    const origin = this.#origin;
    const end = data.length;
    if (end - from < filter.window && !final && !this.#hasEscape(data, from)) {
      return from;
    }
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    let index = from;
    let gram = filter.find(view, index, end);
    const escapes = new EscapeSearch(this.#forms, filter, this.#reader, data);
    let escape = escapes.next(index);
    while (gram !== -1 || escape !== -1) {
      const isGram = gram !== -1 && (escape === -1 || gram <= escape);
      const hit = isGram ? gram : escape;
      const back = (isGram ? filter.reach : filter.window) + MAX_ESCAPE_BYTES;
      const stopped = this.#follow(data, origin + hit + 1, final, origin + Math.max(0, hit - back));
      if (stopped >= end) {
        return stopped;
      }
      index = stopped;
      if (gram !== -1 && gram < index) {
        gram = filter.find(view, index, end);
      }
      if (escape !== -1 && escape < index) {
        escape = escapes.next(index);
      }
    }
    return index;
  }

  #hasEscape(data: Buffer, from: number): boolean {
    for (let i = from; i < data.length; i++) {
      if (this.#reader.starts(data[i]!)) {
        return true;
      }
    }
    return false;
  }

  /**
   * Has the matcher read from `restart` (when it is not past that already) to `until` and on, until no form has begun.
   *
   * @returns the index where it stopped, `data.length` when it needs more.
   */
  #follow(data: Buffer, until: number, final: boolean, restart?: number): number {
    const origin = this.#origin;
    const end = origin + data.length;
    this.#matcher ??= new Matcher(this.#forms, (start, stop, form, leftDigit, rightDigit) => {
      this.#found(start, stop, form, leftDigit, rightDigit);
    });
    const matcher = this.#matcher;
    if (restart !== undefined && restart > matcher.position) {
      matcher.restart(restart);
    }
    while (matcher.position < end) {
      if (matcher.position >= until && matcher.idle && this.#tiles.length === 0) {
        return matcher.position - origin;
      }
      if (!matcher.step(data, origin, final)) {
        break;
      }
      if (this.#tiles.length > 0) {
        this.#commit(matcher.liveStart(data, origin));
      }
    }
    return data.length;
  }

  /** Finds out what the end of `data` may be the beginning of. */
  #searchTail(data: Buffer, from: number): number {
    const origin = this.#origin;
    const { filter, relevant } = this.#forms;
    const matcher = this.#matcher;
    if (from >= data.length) {
      if (matcher === undefined) {
        return Number.POSITIVE_INFINITY;
      }
      const live = matcher.liveStart(data, origin);
      this.#commit(live);
      return live;
    }
    if (filter === undefined) {
      return Number.POSITIVE_INFINITY;
    }
    let span = filter.window;
    const near = Math.max(from, data.length - span - MAX_ESCAPE_BYTES);
    if (this.#hasEscape(data, near)) {
      span = span * BYTES_FOR_SYMBOL + MAX_ESCAPE_BYTES;
    }
    let begin = data.length;
    const limit = Math.max(from, data.length - span);
    while (begin > limit && relevant[data[begin - 1]!] === 1) {
      begin--;
    }
    if (begin === data.length) {
      return Number.POSITIVE_INFINITY;
    }
    this.#follow(data, origin + data.length, false, origin + begin);
    const live = this.#matcher!.liveStart(data, origin);
    this.#commit(live);
    return live;
  }

  /** Takes a form in, as {@link Redactor} says: leftmost, then longest; what overlaps is taken out with it. */
  #found(start: number, end: number, form: Form, leftDigit: number, rightDigit: number): void {
    const tiles = this.#tiles;
    if (start < this.#done) {
      tiles.length = 0;
      this.#done = Math.max(this.#done, end);
      return;
    }
    while (tiles.length > 0 && startsNoLater(start, end, tiles.at(-1)!)) {
      tiles.pop();
    }
    const last = tiles.at(-1);
    if (last === undefined || start >= last.end) {
      const joined = last !== undefined && last.shared && start === last.end;
      tiles.push({
        start,
        end,
        form,
        leftDigit: joined ? sharedDigit(last) : leftDigit,
        rightDigit,
        shared: false,
        grown: false,
      });
      return;
    }
    if (
      start === last.end - 1 &&
      isShareable(last) &&
      form.kind === 'base64' &&
      form.leftBits === 6 - last.form.rightBits
    ) {
      last.end--;
      last.shared = true;
      tiles.push({ start, end, form, leftDigit: sharedDigit(last), rightDigit, shared: false, grown: false });
      return;
    }
    if (end > last.end || last.shared) {
      last.end = Math.max(last.end, end);
      last.grown = true;
      last.shared = false;
      last.rightDigit = 0;
    }
  }

  /** Writes all tiles that nothing can change any more: no form that is not complete begins before `live` . */
  #commit(live: number): void {
    const tiles = this.#tiles;
    while (tiles.length > 0) {
      const tile = tiles[0]!;
      if (live <= tile.start || (isShareable(tile) && live === tile.end - 1) || (tile.shared && tiles.length === 1)) {
        return;
      }
      this.#emitRaw(tile.start);
      const matched = this.#data.subarray(tile.start - this.#origin, tile.end - this.#origin);
      const right = tile.shared ? undefined : tile.rightDigit;
      this.#pieces.push(renderReplacement(tile.form, matched, tile.leftDigit, right));
      this.#done = tile.end;
      this.matches++;
      tiles.shift();
    }
  }

  #emitRaw(until: number): void {
    const from = this.#done - this.#origin;
    const to = until - this.#origin;
    if (to > from) {
      this.#pieces.push(from === 0 && to === this.#data.length ? this.#data : this.#data.subarray(from, to));
      this.#done = until;
    }
  }
}

function hasByte(bytes: Buffer, byte: number, start: number, end: number): boolean {
  const found = bytes.indexOf(byte, start);
  return found !== -1 && found < end;
}

function startsNoLater(start: number, end: number, tile: Tile): boolean {
  return start < tile.start || (start === tile.start && end > tile.end);
}

/** Whether the last digit of a tile may be the first one of the next. */
function isShareable(tile: Tile): boolean {
  return !tile.shared && !tile.grown && tile.form.kind === 'base64' && tile.form.rightBits > 0;
}

/** A digit whose high bits are the last ones of the placeholder that stands for `tile`. */
function sharedDigit(tile: Tile): number {
  const placeholder = alignedPlaceholder(tile.form);
  const own = placeholder.at(-1)! & ((1 << tile.form.rightBits) - 1);
  return own << (6 - tile.form.rightBits);
}
