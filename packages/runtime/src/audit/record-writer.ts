import { formatRecord, MAX_TEXT_LENGTH, PLAIN, type AuditRecord } from './audit-record.ts';
import type { LineQueue } from './line-queue.ts';

/** Room that is made for a line whose prepared parts and path are within their limits. */
const MAX_LINE_BYTES = 8 * 1024;
/** The longest a prepared part may be; a record with a longer one is written by {@link formatRecord}. */
const MAX_PREPARED_BYTES = 2 * 1024;
/** Prepared parts that are kept: a sandbox talks to few hosts at a time. */
const MAX_CASES = 16;
/** Numbers above this are left to {@link formatRecord}: they would not fit the arithmetic here. */
const MAX_NUMBER = 2 ** 31 - 1;

/** What is the same in the records of a connection, from the sandbox to the path. */
interface Case {
  readonly kind: AuditRecord['kind'];
  readonly decision: AuditRecord['decision'];
  readonly code: AuditRecord['code'];
  readonly rule: AuditRecord['rule'];
  readonly scheme: AuditRecord['scheme'];
  readonly host: AuditRecord['host'];
  readonly port: AuditRecord['port'];
  readonly method: AuditRecord['method'];
  /** Null when it is for {@link formatRecord}. */
  readonly bytes: Uint8Array | null;
}

/** The members behind the numbers. */
interface Tail {
  readonly secrets: readonly string[];
  readonly stray: readonly string[];
  readonly redactions: number;
  /** Null when it is for {@link formatRecord}. */
  readonly bytes: Uint8Array | null;
}

const NO_NAMES: readonly string[] = [];

/**
 * Writes records as {@link formatRecord} does, byte for byte, but straight into the queue: what one record shares with others is copied
 * from where it was prepared, and no string is made. It runs once for each request.
 *
 * A record with anything out of the ordinary is left to {@link formatRecord}.
 */
export class RecordWriter {
  readonly #sandbox: string;
  /** `{"time":"2026-11-22T10:00:00.000Z","seq":` */
  readonly #start = bytesOf('{"time":"0000-00-00T00:00:00.000Z","seq":');
  #secondMs = Number.NaN;
  readonly #cases: Case[] = [];
  #lastCase: Case | null = null;
  #replaced = 0;
  #tail: Tail | null = null;

  /** @param sandbox what the events call it */
  constructor(sandbox: string) {
    this.#sandbox = sandbox;
  }

  /** Adds one line, without its mac. */
  write(queue: LineQueue, record: AuditRecord, timeMs: number, seq: number): void {
    queue.reserve(MAX_LINE_BYTES);
    let end = this.#writePlain(queue.bytes, queue.start, record, timeMs, seq);
    if (end === -1) {
      const text = formatRecord(record, { timeMs, seq, sandbox: this.#sandbox });
      // A character of a string has three bytes at most.
      queue.reserve(text.length * 3);
      end = queue.start + ENCODER.encodeInto(text, queue.bytes.subarray(queue.start)).written;
    }
    queue.added(end);
  }

  /** Returns the offset behind the line, or -1 when it is not for this way; what has been written then is void. */
  #writePlain(bytes: Uint8Array, start: number, record: AuditRecord, timeMs: number, seq: number): number {
    const { path, status, requestBytes = 0, responseBytes = 0, durationMs = 0 } = record;
    if (typeof path !== 'string' || path.length > MAX_TEXT_LENGTH.path || typeof status !== 'number') return -1;
    if (!isSmall(seq) || !isSmall(status) || !isSmall(requestBytes) || !isSmall(responseBytes)) return -1;
    const microseconds = Math.round(durationMs * 1000);
    if (!isSmall(microseconds)) return -1;
    const shared = this.#caseOf(record).bytes;
    const tail = this.#tailOf(record).bytes;
    if (shared === null || tail === null || !this.#setTime(timeMs)) return -1;

    let at = start;
    bytes.set(this.#start, at);
    at = putNumber(bytes, at + this.#start.length, seq);
    bytes.set(shared, at);
    at += shared.length;
    for (let i = 0; i < path.length; i++) {
      const octet = path.charCodeAt(i);
      if (PLAIN[octet] !== 1) return -1;
      bytes[at++] = octet;
    }
    bytes.set(STATUS, at);
    at = putNumber(bytes, at + STATUS.length, status);
    bytes.set(REQUEST_BYTES, at);
    at = putNumber(bytes, at + REQUEST_BYTES.length, requestBytes);
    bytes.set(RESPONSE_BYTES, at);
    at = putNumber(bytes, at + RESPONSE_BYTES.length, responseBytes);
    bytes.set(DURATION, at);
    at += DURATION.length;
    if (durationMs > 0) {
      const whole = Math.floor(microseconds / 1000);
      at = putNumber(bytes, at, whole);
      bytes[at++] = POINT;
      putThreeDigits(bytes, at, microseconds - whole * 1000);
      at += 3;
    } else {
      bytes[at++] = ZERO;
    }
    bytes.set(tail, at);
    return at + tail.length;
  }

  /** Formatting a date costs more than all the rest, so only the milliseconds are set while the second is the same. */
  #setTime(timeMs: number): boolean {
    const secondMs = Math.floor(timeMs / 1000) * 1000;
    if (secondMs !== this.#secondMs) {
      // Years beyond four digits have another form.
      if (!(timeMs >= 0 && timeMs < MAX_TIME_MS)) return false;
      const text = new Date(secondMs).toISOString();
      for (let i = 0; i < text.length; i++) this.#start[TIME_START + i] = text.charCodeAt(i);
      this.#secondMs = secondMs;
    }
    putThreeDigits(this.#start, MILLISECONDS_START, Math.floor(timeMs) - secondMs);
    return true;
  }

  #caseOf(record: AuditRecord): Case {
    const last = this.#lastCase;
    if (last !== null && isOfCase(record, last)) return last;
    let known = this.#cases.find((one) => isOfCase(record, one));
    if (known === undefined) {
      known = this.#prepareCase(record);
      this.#cases[this.#replaced] = known;
      this.#replaced = (this.#replaced + 1) % MAX_CASES;
    }
    this.#lastCase = known;
    return known;
  }

  /** Cuts the part out of the record as it is formatted, so that there is one place that knows the form. */
  #prepareCase(record: AuditRecord): Case {
    const { kind, decision, code, rule, scheme, host, port, method } = record;
    const text = formatRecord({ ...record, path: '' }, { timeMs: 0, seq: 0, sandbox: this.#sandbox });
    const part = text.slice(text.indexOf(SANDBOX_MEMBER), text.indexOf(PATH_END) + PATH_END.length - 1);
    return { kind, decision, code, rule, scheme, host, port, method, bytes: plainBytes(part) };
  }

  #tailOf(record: AuditRecord): Tail {
    const { secrets = NO_NAMES, stray = NO_NAMES, redactions = 0 } = record;
    const last = this.#tail;
    if (
      last !== null &&
      redactions === last.redactions &&
      isSameList(secrets, last.secrets) &&
      isSameList(stray, last.stray)
    ) {
      return last;
    }
    const text = formatRecord(
      { kind: 'request', decision: 'allow', secrets: [...secrets], stray: [...stray], redactions },
      NO_STAMP,
    );
    const bytes = plainBytes(text.slice(text.indexOf(SECRETS_MEMBER)));
    const tail = { secrets: [...secrets], stray: [...stray], redactions, bytes };
    this.#tail = tail;
    return tail;
  }
}

const ENCODER = new TextEncoder();
const NO_STAMP = { timeMs: 0, seq: 0, sandbox: '' };

const SANDBOX_MEMBER = ',"sandbox":';
const PATH_END = ',"path":""';
const SECRETS_MEMBER = ',"secrets":';
const STATUS = bytesOf('","status":');
const REQUEST_BYTES = bytesOf(',"requestBytes":');
const RESPONSE_BYTES = bytesOf(',"responseBytes":');
const DURATION = bytesOf(',"durationMs":');

const TIME_START = '{"time":"'.length;
const MILLISECONDS_START = TIME_START + '0000-00-00T00:00:00.'.length;
const MAX_TIME_MS = Date.UTC(9999, 11, 31);

const ZERO = 0x30;
const POINT = 0x2e;
const MAX_ASCII = 0x7e;
const BACKSLASH = '\\';

function bytesOf(ascii: string): Uint8Array {
  return ENCODER.encode(ascii);
}

/** Null for what is too long or not ASCII, or has an escape, and could hold what looks like the end of the part. */
function plainBytes(part: string): Uint8Array | null {
  if (part.length > MAX_PREPARED_BYTES || part.includes(BACKSLASH)) return null;
  for (let i = 0; i < part.length; i++) if (part.charCodeAt(i) > MAX_ASCII) return null;
  return bytesOf(part);
}

function isOfCase(record: AuditRecord, one: Case): boolean {
  return (
    record.host === one.host &&
    record.rule === one.rule &&
    record.method === one.method &&
    record.decision === one.decision &&
    record.code === one.code &&
    record.port === one.port &&
    record.scheme === one.scheme &&
    record.kind === one.kind
  );
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

function isSmall(value: number): boolean {
  return value >= 0 && value <= MAX_NUMBER && (value | 0) === value;
}

/** Writes a whole number from 0 to {@link MAX_NUMBER} in decimal. */
function putNumber(bytes: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = (rest / 10) | 0) digits++;
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    const next = (rest / 10) | 0;
    bytes[i] = ZERO + (rest - next * 10);
    rest = next;
  }
  return at + digits;
}

function putThreeDigits(bytes: Uint8Array, at: number, value: number): void {
  const hundreds = (value / 100) | 0;
  const tens = ((value - hundreds * 100) / 10) | 0;
  bytes[at] = ZERO + hundreds;
  bytes[at + 1] = ZERO + tens;
  bytes[at + 2] = ZERO + (value - hundreds * 100 - tens * 10);
}
