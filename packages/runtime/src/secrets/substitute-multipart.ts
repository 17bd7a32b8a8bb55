const NOTHING = Buffer.alloc(0);

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const HYPHEN = 0x2d;

/** The longest head of a part that is read for its type; a part with a longer one is taken as bytes of no type. */
const MAX_PART_HEAD_BYTES = 16 * 1024;
/** White space between a delimiter and its line end. */
const MAX_PADDING_BYTES = 256;

/** What a {@link MultipartReader} tells, in the order of the body. All bytes of the body come through `bytes`, once. */
export interface MultipartListener {
  bytes(data: Buffer): void;
  /** What follows is a delimiter, the head of a part, or the preamble or epilogue. */
  structure(): void;
  /** What follows is the content of a part with these Content-Type values. */
  part(contentTypes: readonly string[]): void;
}

/** Where the reader is. */
type State = 'content' | 'head' | 'epilogue';

/**
 * Takes a multipart body (RFC 2046 section 5.1) apart as it comes.
 *
 * It holds back at most a delimiter with its padding, or the head of a part. The preamble counts as structure. A line that begins like
 * a delimiter but goes on otherwise is content; so is everything when no delimiter ever comes.
 */
export class MultipartReader {
  readonly #delimiter: Buffer;
  readonly #listener: MultipartListener;
  #state: State = 'content';
  #held: Buffer = NOTHING;
  /** At the very beginning a delimiter needs no line end before it. */
  #isFirst = true;

  constructor(boundary: string, listener: MultipartListener) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
    this.#listener = listener;
  }

  /** Takes the next bytes; with `final` there are no more. */
  read(chunk: Buffer, final: boolean): void {
    let data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = NOTHING;
    while (data.length > 0) {
      const used = this.#next(data, final);
      if (used === 0) {
        this.#held = Buffer.from(data);
        return;
      }
      data = data.subarray(used);
    }
  }

  /** Handles the beginning of `data` and returns how much of it; 0 when more is needed. */
  #next(data: Buffer, final: boolean): number {
    switch (this.#state) {
      case 'epilogue':
        this.#listener.bytes(data);
        return data.length;
      case 'head':
        return this.#readHead(data, final);
      case 'content':
        return this.#readContent(data, final);
      default:
        return this.#state satisfies never;
    }
  }

  #readContent(data: Buffer, final: boolean): number {
    if (this.#isFirst) {
      const delimiter = this.#delimiter.subarray(2);
      if (data.length < delimiter.length && delimiter.subarray(0, data.length).equals(data) && !final) return 0;
      const end = startsWith(data, delimiter) ? delimiterEnd(data, delimiter.length, final) : -1;
      if (end === 0) return 0;
      this.#isFirst = false;
      if (end > 0) return this.#passDelimiter(data, end);
    }
    let from = 0;
    for (;;) {
      const at = data.indexOf(this.#delimiter, from);
      if (at === -1) {
        const end = final ? data.length : partialStart(data, this.#delimiter, from);
        if (end > 0) this.#listener.bytes(data.subarray(0, end));
        return end;
      }
      const end = delimiterEnd(data, at + this.#delimiter.length, final);
      if (end === -1) {
        from = at + 1;
        continue;
      }
      if (at > 0) this.#listener.bytes(data.subarray(0, at));
      if (at > 0 || end === 0) return at;
      return this.#passDelimiter(data, end);
    }
  }

  #passDelimiter(data: Buffer, end: number): number {
    const isLast = data[end - 1] === HYPHEN;
    this.#listener.structure();
    this.#state = isLast ? 'epilogue' : 'head';
    // The line end of a delimiter may be the one that ends an empty head, so it is left to it.
    const used = isLast ? end : end - 2;
    this.#listener.bytes(data.subarray(0, used));
    return used;
  }

  #readHead(data: Buffer, final: boolean): number {
    const end = data.indexOf('\r\n\r\n', 0, 'latin1');
    if (end === -1) {
      if (data.length < MAX_PART_HEAD_BYTES && !final) return 0;
      this.#state = 'content';
      this.#listener.part([]);
      return this.#readContent(data, final);
    }
    const head = end + 4;
    this.#state = 'content';
    if (head > MAX_PART_HEAD_BYTES) {
      this.#listener.part([]);
      return this.#readContent(data, final);
    }
    this.#listener.bytes(data.subarray(0, head - 2));
    this.#listener.part(contentTypes(data.subarray(2, head).toString('latin1')));
    // The delimiter of a part without content begins with the line end that ends its head.
    return head - 2;
  }
}

/** Where the delimiter that is complete up to `at` ends: behind `--`, or behind its line end; -1 when it is none, 0 when more is needed. */
function delimiterEnd(data: Buffer, at: number, final: boolean): number {
  if (data[at] === HYPHEN && data[at + 1] === HYPHEN) return at + 2;
  let end = at;
  while (end < data.length && (data[end] === SPACE || data[end] === TAB)) end += 1;
  if (end - at > MAX_PADDING_BYTES) return -1;
  if (data[end] === CR && data[end + 1] === LF) return end + 2;
  const mayGoOn =
    end === data.length || (end === data.length - 1 && (data[end] === CR || (end === at && data[end] === HYPHEN)));
  return mayGoOn && !final ? 0 : -1;
}

function startsWith(data: Buffer, prefix: Buffer): boolean {
  return data.length >= prefix.length && data.subarray(0, prefix.length).equals(prefix);
}

/** Where a beginning of `wanted` stands at the end of `data`, at `from` or later; its end when there is none. */
function partialStart(data: Buffer, wanted: Buffer, from: number): number {
  for (let at = Math.max(from, data.length - wanted.length + 1); at < data.length; at += 1) {
    if (data[at] === wanted[0] && wanted.subarray(0, data.length - at).equals(data.subarray(at))) return at;
  }
  return data.length;
}

/** The values of the Content-Type fields in the head of a part. */
function contentTypes(head: string): string[] {
  const values: string[] = [];
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0 && line.slice(0, colon).trim().toLowerCase() === 'content-type') {
      values.push(line.slice(colon + 1).trim());
    }
  }
  return values;
}
