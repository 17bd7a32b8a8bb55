import { SallyportError } from '@sallyport/sdk';
import { quote } from './quoted-text.ts';

/** The longest glob, in characters. */
const MAX_GLOB_CHARACTERS = 512;
/** Its most segments: comparing takes at most this many steps for each segment of a path, and the sandbox chooses the path. */
const MAX_GLOB_SEGMENTS = 32;
/** The most segments of a path: it is compared to the glob of every rule. */
const MAX_PATH_SEGMENTS = 1024;

/** Which paths of a host are meant: `*` stands for characters of one segment, `**` as a segment for any number of segments, none included. */
export interface PathGlob {
  /** As it was written. */
  readonly text: string;
  /**
   * What stands between `**`: a path has each of these runs, in this order, the first at its beginning and the last at its end.
   * A segment is the pieces between its `*`.
   */
  readonly runs: readonly (readonly (readonly string[])[])[];
}

/**
 * Reads a glob of paths: `/v1/chat/*`, `/repos/**`, `/user`. It is compared to the decoded path without query, a slash at
 * the end or not; whether case counts is the comparison's to say. `/repos/**` is `/repos` as well.
 *
 * @throws SallyportError INVALID_PATH_GLOB
 */
export function parsePathGlob(text: string): PathGlob {
  if (text.length > MAX_GLOB_CHARACTERS) throw invalid(text, `is longer than ${MAX_GLOB_CHARACTERS} characters`);
  if (!text.startsWith('/')) throw invalid(text, 'does not begin with "/"');
  if (/[%?#\\]/u.test(text)) {
    throw invalid(text, 'has one of %, ?, # and \\: paths are compared decoded, and without their query');
  }
  if (!text.isWellFormed() || hasControl(text)) throw invalid(text, 'has a character that no path can have');
  const runs: string[][][] = [[]];
  const segments = segmentsOf(text);
  if (segments.length > MAX_GLOB_SEGMENTS) throw invalid(text, `has more than ${MAX_GLOB_SEGMENTS} segments`);
  for (const segment of segments) {
    if (segment === '**') {
      runs.push([]);
      continue;
    }
    if (segment === '') throw invalid(text, 'has an empty segment');
    if (segment === '.' || segment === '..') throw invalid(text, 'has a "." or ".." segment');
    if (segment.includes('**')) throw invalid(text, 'has ** beside other characters of a segment');
    runs.at(-1)?.push(segment.split('*'));
  }
  return { text, runs };
}

function invalid(text: string, why: string): SallyportError {
  return new SallyportError(
    'INVALID_PATH_GLOB',
    `The path ${quote(text)} ${why}. Write it like "/v1/models", "/v1/*/files" or "/repos/**".`,
  );
}

/**
 * The path of a request target in the one form that globs are compared to: percent-decoded, without query and without a slash at the end.
 * `%2F` alone stays as that. Null where servers may read it in different ways: dot segments, empty segments, backslashes, NUL and other
 * control characters, escapes that are none, that are twice escaped, or that are not UTF-8; for more than 1024 segments, and for a target without a path (`*`).
 *
 * @param target in origin-form (RFC 9112 section 3.2.1), Latin-1: one character a byte.
 */
export function canonicalPath(target: string): string | null {
  if (!target.startsWith('/')) return null;
  const end = target.search(/[?#]/u);
  const path = end < 0 ? target : target.slice(0, end);
  let bytes = '';
  for (let at = 0; at < path.length; at++) {
    const character = path[at] as string;
    if (character !== '%') {
      bytes += character;
      continue;
    }
    const digits = path.slice(at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/u.test(digits)) return null;
    const code = Number.parseInt(digits, 16);
    // A percent sign would be the beginning of an escape for whoever decodes twice.
    if (code === 0x25) return null;
    bytes += code === 0x2f ? '%2F' : String.fromCharCode(code);
    at += 2;
  }
  const decoded = decodeUtf8(bytes);
  if (decoded === null || decoded.includes('\\') || hasControl(decoded)) return null;
  for (const reading of readingsOf(decoded)) {
    const segments = segmentsOf(reading);
    if (segments.length > MAX_PATH_SEGMENTS) return null;
    for (const segment of segments) {
      // Some servers cut a segment at its semicolon before they look whether it is a dot segment.
      const plain = segment.split(';', 1)[0];
      if (plain === '' || plain === '.' || plain === '..') return null;
    }
  }
  return decoded.length > 1 && decoded.endsWith('/') ? decoded.slice(0, -1) : decoded;
}

/**
 * Whether a canonical path is surely one of those that a glob means: also when a server takes `%2F` for a slash, or leaves out what
 * follows a semicolon. For permissions.
 */
export function matchesPath(glob: PathGlob, path: string): boolean {
  return readingsOf(path).every((reading) => matches(glob, segmentsOf(reading)));
}

/** Whether a server may take a canonical path for one of those that a glob means, in any case of its letters. For prohibitions. */
export function mayMatchPath({ runs }: PathGlob, path: string): boolean {
  const folded = runs.map((run) => run.map((pieces) => pieces.map((piece) => piece.toLowerCase())));
  return readingsOf(path).some((reading) => matches({ runs: folded }, segmentsOf(reading.toLowerCase())));
}

function readingsOf(path: string): string[] {
  const readings = path.includes('%2F') ? [path, path.replaceAll('%2F', '/')] : [path];
  if (!path.includes(';')) return readings;
  // Servers of Java take what follows a semicolon for parameters of the segment.
  return [...readings, ...readings.map((reading) => reading.replaceAll(/;[^/]*/gu, ''))];
}

/** Without the empty one behind a slash at the end. */
function segmentsOf(path: string): string[] {
  const segments = path.slice(1).split('/');
  if (segments.at(-1) === '') segments.pop();
  return segments;
}

/** Each run at the first place where it fits: what can follow a later place can follow that one too. */
function matches({ runs }: Pick<PathGlob, 'runs'>, segments: readonly string[]): boolean {
  const first = runs[0] ?? [];
  const last = runs.length > 1 ? (runs.at(-1) ?? []) : [];
  const end = segments.length - last.length;
  if (first.length > end || !fits(first, segments, 0) || !fits(last, segments, end)) return false;
  let at = first.length;
  if (runs.length === 1) return at === end;
  for (const run of runs.slice(1, -1)) {
    while (at + run.length <= end && !fits(run, segments, at)) at++;
    at += run.length;
    if (at > end) return false;
  }
  return true;
}

function fits(run: readonly (readonly string[])[], segments: readonly string[], start: number): boolean {
  return run.every((pieces, index) => fitsSegment(pieces, segments[start + index] ?? ''));
}

function fitsSegment(pieces: readonly string[], segment: string): boolean {
  const first = pieces[0] ?? '';
  if (pieces.length === 1) return segment === first;
  const last = pieces.at(-1) ?? '';
  const end = segment.length - last.length;
  if (end < first.length || !segment.startsWith(first) || !segment.endsWith(last)) return false;
  let at = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = segment.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

function hasControl(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

function decodeUtf8(bytes: string): string | null {
  const decoded = Buffer.from(bytes, 'latin1').toString('utf8');
  return decoded.includes('�') ? null : decoded;
}
