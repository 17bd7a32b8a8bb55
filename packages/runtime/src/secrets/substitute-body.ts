import { partFormat, type BodyFormat } from './body-format.ts';
import type { BoundSecret } from './bound-secret.ts';
import { Automaton, ROOT } from './matcher-automaton.ts';
import { EscapeReader, INCOMPLETE_ESCAPE, NO_ESCAPE } from './matcher-escape.ts';
import { MultipartReader } from './substitute-multipart.ts';
import { percentText } from './substitute.ts';

const NOTHING = Buffer.alloc(0);

const PERCENT = 0x25;
const BACKSLASH = 0x5c;

/** Places are moved to the front when there are this many more than a placeholder can have. */
const SPARE_PLACES = 4096;

/** A value that the body's format cannot carry, or that is not known. */
export interface UncarriableValue {
  readonly code: 'VALUE_NOT_CARRIABLE' | 'SECRET_UNAVAILABLE';
  /** The secret's name. */
  readonly name: string;
  /** Why, in words that hold nothing secret. */
  readonly reason: string;
}

/** The search for all placeholders of a sandbox, compiled once. */
interface CompiledPlaceholders {
  readonly secrets: readonly BoundSecret[];
  readonly automaton: Automaton;
  /** Which secret's placeholder ends at a node. */
  readonly ends: ReadonlyMap<number, number>;
  /** 1 for each byte that a placeholder begins with. */
  readonly firsts: Uint8Array;
  /** 1 for each byte that comes second in a placeholder. */
  readonly seconds: Uint8Array;
  readonly longest: number;
}

/**
 * Puts the values of bound secrets where their placeholders stand in request bodies. Immutable; shared by all connections of a sandbox.
 */
export class BodySubstituter {
  readonly #compiled: CompiledPlaceholders;

  /** @param secrets all of the sandbox: placeholders of those not bound to a destination are recognized as stray. */
  constructor(secrets: readonly BoundSecret[]) {
    let nodes = 1;
    for (const { placeholder } of secrets) nodes += placeholder.length;
    const automaton = new Automaton(nodes);
    const ends = new Map<number, number>();
    const firsts = new Uint8Array(256);
    const seconds = new Uint8Array(256);
    let longest = 0;
    for (const [index, { placeholder }] of secrets.entries()) {
      const bytes = Buffer.from(placeholder, 'latin1');
      let node = ROOT;
      for (const byte of bytes) node = automaton.extend(node, byte);
      if (node === ROOT || ends.has(node)) continue;
      automaton.end(node);
      ends.set(node, index);
      firsts[bytes[0]!] = 1;
      if (bytes.length > 1) seconds[bytes[1]!] = 1;
      else seconds.fill(1);
      longest = Math.max(longest, bytes.length);
    }
    automaton.link();
    this.#compiled = { secrets, automaton, ends, firsts, seconds, longest };
  }

  /**
   * Starts a body that comes in chunks.
   *
   * @param bound the secrets bound to the request's authority; those of them with that location are put in.
   */
  stream(
    format: BodyFormat,
    bound: readonly BoundSecret[],
    location: 'body' | 'websocket' = 'body',
  ): BodySubstitutionStream {
    return new BodySubstitutionStream(this.#compiled, format, bound, location);
  }
}

/** What one body's substitution has found so far; shared by the streams of its parts. */
class Findings {
  readonly released = new Set<string>();
  readonly stray = new Set<string>();
  failure: UncarriableValue | null = null;
  addedBytes = 0;
  readonly #allowed: ReadonlySet<string>;
  readonly #boundary: string | undefined;
  readonly #rendered = new Map<string, Buffer>();

  constructor(bound: readonly BoundSecret[], location: 'body' | 'websocket', boundary: string | undefined) {
    this.#allowed = new Set(
      bound
        .filter(({ locations }) => locations.some(({ kind }) => kind === location))
        .map(({ placeholder }) => placeholder),
    );
    this.#boundary = boundary;
  }

  /** What replaces a placeholder of `length` bytes in that format, or null when it stays (or the value cannot be carried). */
  replacement(secret: BoundSecret, format: BodyFormat['kind'], length: number): Buffer | null {
    if (format === 'opaque' || format === 'multipart' || !this.#allowed.has(secret.placeholder)) {
      this.stray.add(secret.name);
      return null;
    }
    const key = `${format} ${secret.placeholder}`;
    let bytes = this.#rendered.get(key);
    if (bytes === undefined) {
      if (!secret.value.isKnown) {
        this.failure ??= { code: 'SECRET_UNAVAILABLE', name: secret.name, reason: 'its value is not known' };
        return null;
      }
      const rendered = renderValue(secret.value.reveal(), format, this.#boundary);
      if ('reason' in rendered) {
        this.failure ??= { code: 'VALUE_NOT_CARRIABLE', name: secret.name, reason: rendered.reason };
        return null;
      }
      bytes = rendered.bytes;
      this.#rendered.set(key, bytes);
    }
    this.released.add(secret.name);
    this.addedBytes += Math.max(0, bytes.length - length);
    return bytes;
  }
}

/**
 * Substitutes in a body chunk by chunk. The output is the same for any chunking.
 *
 * Only bytes that may be the beginning of a placeholder (or of a multipart delimiter and the head of its part) are held back. What was put
 * in is not searched again. Once a value cannot be carried, {@link BodySubstitutionStream.failure} tells so and nothing more comes out.
 */
export class BodySubstitutionStream {
  readonly #findings: Findings;
  readonly #text: TextSubstitution | null = null;
  readonly #multipart: MultipartSubstitution | null = null;

  constructor(
    compiled: CompiledPlaceholders,
    format: BodyFormat,
    bound: readonly BoundSecret[],
    location: 'body' | 'websocket',
  ) {
    this.#findings = new Findings(bound, location, format.kind === 'multipart' ? format.boundary : undefined);
    if (format.kind === 'multipart') {
      this.#multipart = new MultipartSubstitution(compiled, this.#findings, format.boundary);
    } else {
      this.#text = new TextSubstitution(compiled, this.#findings, format.kind);
    }
  }

  /** Names of the secrets whose value was put in. */
  get released(): ReadonlySet<string> {
    return this.#findings.released;
  }

  /** Names of the secrets whose placeholder stays: not bound here, not allowed in bodies, or where nothing can be put in. */
  get stray(): ReadonlySet<string> {
    return this.#findings.stray;
  }

  /** The first value that could not be carried. */
  get failure(): UncarriableValue | null {
    return this.#findings.failure;
  }

  /** By how many bytes values were longer than what they replaced, in sum. */
  get addedBytes(): number {
    return this.#findings.addedBytes;
  }

  /** Takes the next chunk; returns what can be sent (the chunk itself where nothing is found or held). */
  push(chunk: Buffer): Buffer {
    return this.#process(chunk, false);
  }

  /** The end: returns what was held back. */
  end(): Buffer {
    return this.#process(NOTHING, true);
  }

  #process(chunk: Buffer, final: boolean): Buffer {
    if (this.failure !== null) return NOTHING;
    const output = this.#text?.process(chunk, final) ?? this.#multipart?.process(chunk, final) ?? NOTHING;
    return this.failure === null ? output : NOTHING;
  }
}

/** Substitution in text of one format. */
class TextSubstitution {
  readonly #compiled: CompiledPlaceholders;
  readonly #findings: Findings;
  readonly #format: Exclude<BodyFormat['kind'], 'multipart'>;
  /** The byte that begins an escape; -1 where there are none. */
  readonly #lead: number;
  /** 1 for each byte that a placeholder, or an escape in one, may begin with; and the same for the byte after it. */
  readonly #firsts: Uint8Array;
  readonly #seconds: Uint8Array;
  readonly #reader = new EscapeReader(false);
  #node = ROOT;
  /** Where each of the latest symbols began, as an offset in the whole text. */
  #places: number[] = [];
  #held: Buffer = NOTHING;
  /** The offset of the first held byte, or of the next chunk. */
  #origin = 0;
  /** How many of the held bytes have been read; the rest is an escape that was not complete. */
  #read = 0;

  constructor(compiled: CompiledPlaceholders, findings: Findings, format: Exclude<BodyFormat['kind'], 'multipart'>) {
    this.#compiled = compiled;
    this.#findings = findings;
    this.#format = format;
    this.#lead = format === 'json' ? BACKSLASH : format === 'form' ? PERCENT : -1;
    this.#firsts = compiled.firsts;
    this.#seconds = compiled.seconds;
    if (this.#lead !== -1) {
      this.#firsts = Uint8Array.from(compiled.firsts);
      this.#seconds = Uint8Array.from(compiled.seconds);
      this.#firsts[this.#lead] = 1;
      this.#seconds[this.#lead] = 1;
    }
  }

  process(chunk: Buffer, final: boolean): Buffer {
    const data = this.#held.length === 0 ? chunk : chunk.length === 0 ? this.#held : Buffer.concat([this.#held, chunk]);
    const lead = this.#lead;
    const origin = this.#origin;
    const end = data.length;
    const pieces: Buffer[] = [];
    let written = 0;
    let at = this.#read;
    while (at < end) {
      if (this.#node === ROOT) {
        at = this.#skip(data, at);
        if (at === end) break;
      }
      let length = 1;
      let symbol = data[at]!;
      if (symbol === lead) {
        const escape = this.#reader.read(data, at, end);
        if (escape === INCOMPLETE_ESCAPE) {
          if (!final) break;
        } else if (escape !== NO_ESCAPE) {
          length = escape;
          // A placeholder is ASCII; of anything longer the first byte already belongs to none.
          symbol = this.#reader.bytes[0]!;
        }
      }
      const place = origin + at;
      at += length;
      const start = this.#step(symbol, place);
      if (start === -1) continue;
      const found = this.#compiled.secrets[this.#compiled.ends.get(this.#node)!]!;
      this.#reset();
      const bytes = this.#findings.replacement(found, this.#format, at - (start - origin));
      if (this.#findings.failure !== null) return NOTHING;
      if (bytes === null) continue;
      if (start - origin > written) pieces.push(data.subarray(written, start - origin));
      pieces.push(bytes);
      written = at;
    }
    // A placeholder that has begun, or an escape that may belong to one.
    let keep = at;
    if (final) {
      keep = end;
      this.#reset();
    } else if (this.#node !== ROOT) {
      keep = this.#placeOfDepth() - origin;
    }
    if (keep > written) pieces.push(written === 0 && keep === end ? data : data.subarray(written, keep));
    // The caller's chunk may be reused by it.
    this.#held = keep === end ? NOTHING : Buffer.from(data.subarray(keep));
    this.#read = at - keep;
    this.#origin = origin + keep;
    if (final) {
      this.#origin = 0;
      this.#read = 0;
    }
    if (pieces.length === 0) return NOTHING;
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  /** The next place from `at` on where a placeholder may begin. */
  #skip(data: Buffer, at: number): number {
    const firsts = this.#firsts;
    const seconds = this.#seconds;
    const lead = this.#lead;
    const last = data.length - 1;
    for (let index = at; index < last; index++) {
      if (firsts[data[index]!] === 1 && (seconds[data[index + 1]!] === 1 || data[index] === lead)) return index;
    }
    return Math.max(at, last);
  }

  /** Takes one symbol; returns where the placeholder began that ends with it, or -1. */
  #step(symbol: number, place: number): number {
    const { automaton, longest, ends } = this.#compiled;
    this.#node = automaton.next(this.#node, symbol);
    const depth = automaton.depth[this.#node]!;
    if (depth === 0) {
      this.#places.length = 0;
      return -1;
    }
    this.#places.push(place);
    if (this.#places.length > longest + SPARE_PLACES) this.#places = this.#places.slice(-longest);
    const out = automaton.out[this.#node]!;
    if (out === ROOT) return -1;
    // Placeholders do not contain one another, but a set built by hand may: the one that ends first counts.
    if (!ends.has(this.#node)) this.#node = out;
    return this.#placeOfDepth();
  }

  #placeOfDepth(): number {
    return this.#places[this.#places.length - this.#compiled.automaton.depth[this.#node]!]!;
  }

  #reset(): void {
    this.#node = ROOT;
    this.#places.length = 0;
  }
}

/** Substitution in the parts of a multipart body. What is around them is passed on as it is. */
class MultipartSubstitution {
  readonly #compiled: CompiledPlaceholders;
  readonly #findings: Findings;
  readonly #reader: MultipartReader;
  #region: TextSubstitution;
  #output: Buffer[] = [];

  constructor(compiled: CompiledPlaceholders, findings: Findings, boundary: string) {
    this.#compiled = compiled;
    this.#findings = findings;
    this.#region = new TextSubstitution(compiled, findings, 'opaque');
    this.#reader = new MultipartReader(boundary, {
      bytes: (data) => this.#take(this.#region.process(data, false)),
      structure: () => this.#turn('opaque'),
      part: (contentTypes) => {
        const format = partFormat(contentTypes).kind;
        this.#turn(format === 'multipart' ? 'raw' : format);
      },
    });
  }

  process(chunk: Buffer, final: boolean): Buffer {
    this.#reader.read(chunk, final);
    if (final) this.#take(this.#region.process(NOTHING, true));
    const output = this.#output;
    this.#output = [];
    if (output.length === 0) return NOTHING;
    return output.length === 1 ? output[0]! : Buffer.concat(output);
  }

  #turn(format: Exclude<BodyFormat['kind'], 'multipart'>): void {
    this.#take(this.#region.process(NOTHING, true));
    this.#region = new TextSubstitution(this.#compiled, this.#findings, format);
  }

  #take(data: Buffer): void {
    if (data.length > 0) this.#output.push(data);
  }
}

type Rendered = { readonly bytes: Buffer } | { readonly reason: string };

/** How a value is written in that format. */
function renderValue(value: string, format: 'raw' | 'json' | 'form', boundary: string | undefined): Rendered {
  if (!value.isWellFormed()) {
    return { reason: 'it has half a surrogate pair, which UTF-8 cannot carry' };
  }
  switch (format) {
    case 'raw':
      if (boundary !== undefined && value.includes(`--${boundary}`)) {
        return { reason: 'it contains the delimiter of the multipart body' };
      }
      return { bytes: Buffer.from(value, 'utf8') };
    case 'json':
      return { bytes: Buffer.from(JSON.stringify(value).slice(1, -1), 'utf8') };
    case 'form':
      return { bytes: Buffer.from(percentText(value).text, 'latin1') };
    default:
      return format satisfies never;
  }
}
