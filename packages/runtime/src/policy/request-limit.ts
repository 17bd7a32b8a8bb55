import { parseMethod } from './method.ts';
import { matchesPath, mayMatchPath, parsePathGlob, type PathGlob } from './path-glob.ts';

/** The requests that a rule is for: those by one of the methods, and to a path that is meant. */
export interface RequestLimit {
  /** Upper case, each once; null for all. */
  readonly methods: readonly string[] | null;
  /** Null for all. */
  readonly path: PathGlob | null;
}

/** A limit as people and programs write it. Omitted, null and, for methods, empty mean the same: no limit. */
export interface RequestLimitText {
  readonly methods?: readonly string[] | null | undefined;
  readonly path?: string | null | undefined;
}

/**
 * Reads the methods and the path of a rule.
 *
 * @returns null where neither is given: the rule is for whatever the host is asked, and for connections that are no HTTP.
 * @throws SallyportError INVALID_METHOD, INVALID_PATH_GLOB.
 */
export function parseRequestLimit({ methods, path }: RequestLimitText): RequestLimit | null {
  const hasMethods = methods !== undefined && methods !== null && methods.length > 0;
  const hasPath = path !== undefined && path !== null;
  if (!hasMethods && !hasPath) return null;
  return {
    methods: hasMethods ? [...new Set(methods.map((text) => parseMethod(text)))].toSorted() : null,
    path: hasPath ? parsePathGlob(path) : null,
  };
}

/** A limit behind a pattern: ` GET,POST /repos/**`; empty without one. */
export function formatRequestLimit(limit: RequestLimit | null): string {
  if (limit === null) return '';
  return `${limit.methods === null ? '' : ` ${limit.methods.join(',')}`}${limit.path === null ? '' : ` ${limit.path.text}`}`;
}

/**
 * Whether a request is surely one that the limit means. For permissions.
 *
 * @param path canonical (`canonicalPath`); null where servers may read it in different ways, which no path of a rule covers.
 */
export function coversRequest({ methods, path: glob }: RequestLimit, method: string, path: string | null): boolean {
  if (methods !== null && !methods.includes(method)) return false;
  return glob === null || (path !== null && matchesPath(glob, path));
}

/**
 * Whether a server may take a request for one that the limit means. For prohibitions: methods in any case, since some servers fold it, and
 * every path that cannot be told.
 */
export function mayCoverRequest({ methods, path: glob }: RequestLimit, method: string, path: string | null): boolean {
  if (methods !== null && !methods.includes(method.toUpperCase())) return false;
  return glob === null || path === null || mayMatchPath(glob, path);
}
