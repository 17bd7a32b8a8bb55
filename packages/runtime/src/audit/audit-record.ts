import type { AuditEvent } from '@sallyport/sdk';

/** What the gate says of an event; what is left out is null, 0 or empty in the line. */
export type AuditRecord = Pick<AuditEvent, 'kind' | 'decision'> &
  Partial<Omit<AuditEvent, 'kind' | 'decision' | 'time' | 'seq' | 'sandbox' | 'mac'>>;

/** What the log adds to it. */
export interface AuditStamp {
  readonly timeMs: number;
  readonly seq: number;
  readonly sandbox: string;
}

/** The most characters of each text in a line; what is longer is cut and ends in an ellipsis. The sandbox chooses most of them. */
export const MAX_TEXT_LENGTH = { name: 128, rule: 512, host: 255, method: 32, path: 2048 } as const;
const MAX_NAMES = 64;

/**
 * Writes the JSON object of an event without its mac: always all members, always in this order.
 *
 * By hand, since it runs once for each request: the texts alone go through `JSON.stringify`.
 */
export function formatRecord(record: AuditRecord, stamp: AuditStamp): string {
  return (
    `{"time":"${formatTime(stamp.timeMs)}","seq":${stamp.seq}` +
    `,"sandbox":${text(stamp.sandbox, MAX_TEXT_LENGTH.name)}` +
    `,"kind":"${record.kind}","decision":"${record.decision}"` +
    `,"code":${text(record.code, MAX_TEXT_LENGTH.name)}` +
    `,"rule":${text(record.rule, MAX_TEXT_LENGTH.rule)}` +
    `,"scheme":${text(record.scheme, MAX_TEXT_LENGTH.name)}` +
    `,"host":${text(record.host, MAX_TEXT_LENGTH.host)}` +
    `,"port":${integer(record.port) ?? 'null'}` +
    `,"method":${text(record.method, MAX_TEXT_LENGTH.method)}` +
    `,"path":${text(record.path, MAX_TEXT_LENGTH.path)}` +
    `,"status":${integer(record.status) ?? 'null'}` +
    `,"requestBytes":${integer(record.requestBytes) ?? 0}` +
    `,"responseBytes":${integer(record.responseBytes) ?? 0}` +
    `,"durationMs":${milliseconds(record.durationMs)}` +
    `,"secrets":${names(record.secrets)}` +
    `,"stray":${names(record.stray)}` +
    `,"redactions":${integer(record.redactions) ?? 0}}`
  );
}

/** RFC 3339 in UTC with milliseconds. */
function formatTime(timeMs: number): string {
  return new Date(Math.floor(timeMs)).toISOString();
}

function threeDigits(value: number): string {
  return value < 10 ? `00${value}` : value < 100 ? `0${value}` : `${value}`;
}

/** Characters that JSON text holds as they are, all in ASCII. */
export const PLAIN = new Uint8Array(128).fill(1, 0x20);
PLAIN[0x22] = 0;
PLAIN[0x5c] = 0;
PLAIN[0x7f] = 0;

function isPlain(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    if (PLAIN[value.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

function text(value: string | null | undefined, maxLength: number): string {
  if (value === null || value === undefined) {
    return 'null';
  }
  if (value.length <= maxLength && isPlain(value)) return `"${value}"`;
  return JSON.stringify(value.length > maxLength ? `${value.slice(0, maxLength - 1)}…` : value);
}

function names(values: readonly string[] | undefined): string {
  if (values === undefined || values.length === 0) {
    return '[]';
  }
  const count = Math.min(values.length, MAX_NAMES);
  let list = text(values[0], MAX_TEXT_LENGTH.name);
  for (let i = 1; i < count; i++) list += `,${text(values[i], MAX_TEXT_LENGTH.name)}`;
  return `[${list}]`;
}

function integer(value: number | null | undefined): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

/** Microseconds are as fine as the clock is; NaN and infinity are no JSON. Whole numbers are written faster than fractions. */
function milliseconds(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value) || value <= 0) return '0';
  const microseconds = Math.round(value * 1000);
  if (!Number.isSafeInteger(microseconds)) return String(Math.round(value));
  const whole = Math.floor(microseconds / 1000);
  return `${whole}.${threeDigits(microseconds - whole * 1000)}`;
}
