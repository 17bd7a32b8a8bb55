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
const MAX_TEXT_LENGTH = { name: 128, rule: 512, host: 255, method: 32, path: 2048 } as const;
const MAX_NAMES = 64;

/**
 * Writes the JSON object of an event without its mac: always all members, always in this order.
 *
 * By hand, since it runs once for each request: the texts alone go through `JSON.stringify`.
 */
export function formatRecord(record: AuditRecord, stamp: AuditStamp): string {
  return (
    `{"time":"${new Date(stamp.timeMs).toISOString()}","seq":${stamp.seq}` +
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

function text(value: string | null | undefined, maxLength: number): string {
  if (value === null || value === undefined) {
    return 'null';
  }
  return JSON.stringify(value.length > maxLength ? `${value.slice(0, maxLength - 1)}…` : value);
}

function names(values: readonly string[] | undefined): string {
  if (values === undefined || values.length === 0) {
    return '[]';
  }
  return `[${values
    .slice(0, MAX_NAMES)
    .map((value) => text(value, MAX_TEXT_LENGTH.name))
    .join(',')}]`;
}

function integer(value: number | null | undefined): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

/** Microseconds are as fine as the clock is; NaN and infinity are no JSON. */
function milliseconds(value: number | undefined): number {
  return value !== undefined && Number.isFinite(value) && value > 0 ? Math.round(value * 1000) / 1000 : 0;
}
