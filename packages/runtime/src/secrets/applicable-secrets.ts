import type { RequestOverrides } from '../policy/http-policy.ts';
import { canonicalPath, matchesPath } from '../policy/path-glob.ts';
import type { BoundSecret } from './bound-secret.ts';

/**
 * Those of the secrets bound to an authority that are for a request by that method and path. The same array where none asks for either.
 *
 * @param overrides other methods and targets that the request asks the server to take it for; asked for only where methods or paths count.
 * @param target in origin-form, as the client sent it. One that can be read in two ways is for no secret that names paths.
 */
export function secretsForRequest(
  bound: readonly BoundSecret[],
  method: string,
  overrides: () => RequestOverrides,
  target: string,
): readonly BoundSecret[] {
  if (!bound.some(({ methods, path }) => methods !== undefined || path !== undefined)) return bound;
  const { overrides: otherMethods, targetOverrides } = overrides();
  const named = [method, ...otherMethods];
  const paths = [target, ...targetOverrides].map((text) => canonicalPath(text));
  return bound.filter(
    ({ methods, path }) =>
      (methods === undefined || named.every((text) => methods.includes(text))) &&
      (path === undefined || paths.every((canonical) => canonical !== null && matchesPath(path, canonical))),
  );
}
