import { randomInt } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { AssertionError } from 'node:assert';

/** A random secret value that must never be seen outside the host process and the upstream. */
export interface Canary {
  readonly value: string;
}

/** Where a canary turned up, and in which form; the value itself is not repeated. */
export interface Sighting {
  readonly where: string;
  readonly form: string;
}

/** The places `assertNoCanary` looks at. */
export interface CanarySearch {
  /** Named pieces of text or bytes: standard output, a parsed audit log, … */
  readonly outputs?: Readonly<Record<string, string | Buffer | undefined>>;
  /** Files and directories (read recursively, symbolic links not followed but their targets looked at). */
  readonly files?: readonly string[];
  /** Sightings of `watchProcesses`. */
  readonly processes?: readonly Sighting[];
}

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const TOKEN_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
// Everything that some encoding has to escape, but nothing that a header value or Basic password cannot carry.
const AWKWARD_ALPHABET = `${TOKEN_ALPHABET}+/=&%"\\<>'~!?#@ ;,|{}[]^\``;

function pick(alphabet: string, length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/**
 * Makes a canary of 40 characters.
 *
 * `token` is letters and digits, as most API keys are; `awkward` also holds what percent-encoding, JSON and HTML escape.
 */
export function newCanary(alphabet: 'token' | 'awkward' = 'token'): Canary {
  if (alphabet === 'token') return { value: `ghp_${pick(TOKEN_ALPHABET, 36)}` };
  // The ends are letters, as a header value's outer spaces would be trimmed.
  return { value: `k${pick(AWKWARD_ALPHABET, 24)}+/="\\%&${pick(AWKWARD_ALPHABET, 6)}z` };
}

/** The three runs of base64 characters of which one occurs wherever `value` lies inside base64 text. */
export function base64Alignments(value: Buffer): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), value]).toString('base64');
    const start = [0, 2, 3][shift]!;
    return encoded.slice(start, Math.floor(((shift + value.length) * 8) / 6));
  });
}

function unescapePercent(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function unescapeJson(text: string): string {
  return text
    .replace(/\\u00([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/\\(["\\/])/g, '$1');
}

/** The forms in which `data` holds the canary; empty when it holds none. */
export function findCanary(canary: Canary, data: string | Buffer): string[] {
  const text = typeof data === 'string' ? Buffer.from(data).toString('latin1') : data.toString('latin1');
  const bytes = Buffer.from(canary.value);
  const value = bytes.toString('latin1');
  const found: string[] = [];
  if (text.includes(value)) found.push('raw');
  const urlSafe = text.replaceAll('+', '-').replaceAll('/', '_');
  base64Alignments(bytes).forEach((run, shift) => {
    if (urlSafe.includes(run.replaceAll('+', '-').replaceAll('/', '_'))) found.push(`base64 at alignment ${shift}`);
  });
  if (text.toLowerCase().includes(bytes.toString('hex'))) found.push('hex');
  if (found.includes('raw')) return found;
  if (unescapePercent(text).includes(value) || unescapePercent(text.replaceAll('+', ' ')).includes(value)) {
    found.push('percent-encoded');
  }
  if (unescapeJson(text).includes(value)) found.push('JSON-escaped');
  return found;
}

function searchPath(canary: Canary, path: string, sightings: Sighting[]): void {
  let stat;
  try {
    stat = lstatSync(path);
  } catch {
    return; // Gone between listing and looking: nothing is left to leak.
  }
  const look = (data: string | Buffer, where: string): void => {
    for (const form of findCanary(canary, data)) sightings.push({ where, form });
  };
  look(path, `the name of ${path.replaceAll(canary.value, '<canary>')}`);
  if (stat.isSymbolicLink()) look(readlinkSync(path), `the target of ${path}`);
  else if (stat.isDirectory()) for (const entry of readdirSync(path)) searchPath(canary, join(path, entry), sightings);
  else if (stat.isFile() && stat.size <= MAX_FILE_BYTES) look(readFileSync(path), path);
}

/** Everywhere in `search` that the canary is, in whatever form. */
export function findSightings(canary: Canary, search: CanarySearch): Sighting[] {
  const sightings: Sighting[] = [...(search.processes ?? [])];
  for (const [where, data] of Object.entries(search.outputs ?? {})) {
    if (data === undefined) continue;
    for (const form of findCanary(canary, data)) sightings.push({ where, form });
  }
  for (const path of search.files ?? []) searchPath(canary, path, sightings);
  return sightings;
}

/**
 * Fails when the canary, or an encoding of it, is anywhere in `search`.
 *
 * @throws AssertionError naming the places and forms, never the value.
 */
export function assertNoCanary(canary: Canary, search: CanarySearch): void {
  const sightings = findSightings(canary, search);
  if (sightings.length === 0) return;
  const places = sightings.map(({ where, form }) => `  ${where}: ${form}`).join('\n');
  throw new AssertionError({ message: `the canary was seen:\n${places}`, stackStartFn: assertNoCanary });
}
