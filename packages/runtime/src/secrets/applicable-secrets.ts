import { canonicalPath, matchesPath } from '../policy/path-glob.ts';
import type { BoundSecret } from './bound-secret.ts';

/**
 * Those of the secrets bound to an authority that are for a request by that method and path. The same array where none asks for either.
 *
 * @param overrides other methods that the request asks the server to take it for; asked for only where methods count.
 * @param target in origin-form, as the client sent it. One that can be read in two ways is for no secret that names paths.
 */
export function secretsForRequest(
  bound: readonly BoundSecret[],
  method: string,
  overrides: () => readonly string[],
  target: string,
): readonly BoundSecret[] {
  if (!bound.some(({ methods, path }) => methods !== undefined || path !== undefined)) return bound;
  const canonical = canonicalPath(target);
  const named = [method, ...overrides()];
  return bound.filter(
    ({ methods, path }) =>
      (methods === undefined || named.every((text) => methods.includes(text))) &&
      (path === undefined || (canonical !== null && matchesPath(path, canonical))),
  );
}
