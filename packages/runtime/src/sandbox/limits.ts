import { SallyportError } from '@sallyport/sdk';

/** What a sandbox may use at most. `undefined`: no limit of ours. */
export interface Limits {
  readonly memoryBytes?: number | undefined;
  /** Processors' worth of time: 1.5 is one and a half. */
  readonly cpus?: number | undefined;
  /** Processes and threads. */
  readonly pids: number;
}

export const DEFAULT_PIDS = 4096;

/** Below this the OCI runtime itself does not fit, and the failure would not name its cause. */
const MIN_MEMORY_BYTES = 16 * 1024 * 1024;

const MEMORY_UNITS = new Map([
  ['', 1],
  ['b', 1],
  ['k', 1024],
  ['m', 1024 ** 2],
  ['g', 1024 ** 3],
  ['t', 1024 ** 4],
]);

const DURATION_UNITS_MS = new Map([
  ['ms', 1],
  ['', 1000],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const MIN_CPUS = 0.01;
const MAX_CPUS = 10_000;
const MIN_PIDS = 16;
/** The largest that Linux can number (`PID_MAX_LIMIT`). */
const MAX_PIDS = 4_194_304;
/** The longest that a timer of this process can wait. */
const MAX_DURATION_MS = 2_147_483_647;

/**
 * Bytes from text such as `512m`, `2g`, `2GiB` or plain bytes; units are powers of 1024.
 *
 * @throws SallyportError `INVALID_LIMIT`.
 */
export function parseMemory(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)(b|[kmgt](?:i?b)?|)$/.exec(text.toLowerCase());
  const unit = MEMORY_UNITS.get((match?.[2] ?? '?').slice(0, 1));
  const bytes = Math.floor(Number(match?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(bytes)) throw invalid('memory', text, 'Write a size such as 512m or 2g');
  if (bytes < MIN_MEMORY_BYTES) throw invalid('memory', text, 'At least 16m is needed');
  return bytes;
}

/**
 * Processors from text such as `1.5`.
 *
 * @throws SallyportError `INVALID_LIMIT`.
 */
export function parseCpus(text: string): number {
  const cpus = /^\d{1,5}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
  if (!(cpus >= MIN_CPUS && cpus <= MAX_CPUS)) throw invalid('CPU', text, 'Write a number of processors such as 1.5');
  return cpus;
}

/**
 * A number of processes.
 *
 * @throws SallyportError `INVALID_LIMIT`.
 */
export function parsePids(text: string): number {
  const pids = /^\d{1,8}$/.test(text) ? Number(text) : Number.NaN;
  if (!(pids >= MIN_PIDS && pids <= MAX_PIDS)) {
    throw invalid('process', text, `Write a whole number from ${MIN_PIDS} to ${MAX_PIDS}`);
  }
  return pids;
}

/**
 * Milliseconds from text such as `90s`, `10m`, `1.5h`, `500ms`; without a unit: seconds.
 *
 * @throws SallyportError `INVALID_LIMIT`.
 */
export function parseDuration(text: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|[smhd]|)$/.exec(text.toLowerCase());
  const milliseconds = Math.ceil(Number(match?.[1]) * (DURATION_UNITS_MS.get(match?.[2] ?? '?') ?? Number.NaN));
  if (!(milliseconds >= 1 && milliseconds <= MAX_DURATION_MS)) {
    throw invalid('time', text, 'Write a duration such as 90s, 10m or 1.5h, of 24 days at most');
  }
  return milliseconds;
}

function invalid(kind: string, text: string, remedy: string): SallyportError {
  return new SallyportError('INVALID_LIMIT', `${JSON.stringify(text)} is not a usable ${kind} limit. ${remedy}.`);
}
