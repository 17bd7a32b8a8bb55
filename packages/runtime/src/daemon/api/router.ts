import { ENDPOINTS, type Endpoint, type EndpointId } from '@sallyport/sdk/api';
import { SallyportError } from '@sallyport/sdk';

/** An endpoint that a request is for. */
export interface Route {
  readonly id: EndpointId;
  readonly endpoint: Endpoint;
  readonly params: Readonly<Record<string, string>>;
}

interface Candidate {
  readonly id: EndpointId;
  readonly endpoint: Endpoint;
  readonly parts: readonly string[];
}

const CANDIDATES: readonly Candidate[] = (Object.entries(ENDPOINTS) as [EndpointId, Endpoint][]).map(
  ([id, endpoint]) => ({
    id,
    endpoint,
    parts: endpoint.path.split('/'),
  }),
);

/**
 * Finds the endpoint of a request by the table of the contract.
 *
 * @param path without query, as it came.
 * @throws SallyportError ENDPOINT_NOT_FOUND, METHOD_NOT_ALLOWED.
 */
export function findRoute(method: string, path: string): Route {
  const parts = path.split('/');
  let isKnown = false;
  for (const { id, endpoint, parts: pattern } of CANDIDATES) {
    const params = matchPath(pattern, parts);
    if (params === null) continue;
    isKnown = true;
    if (endpoint.method === method) return { id, endpoint, params };
  }
  const quoted = JSON.stringify(path.slice(0, 200));
  if (isKnown)
    throw new SallyportError(
      'METHOD_NOT_ALLOWED',
      `${quoted} exists, but not for the method ${JSON.stringify(method)}.`,
    );
  throw new SallyportError(
    'ENDPOINT_NOT_FOUND',
    `The API has no ${quoted}. /v1/openapi.json describes what it has; a newer client may need a newer daemon: sallyport daemon restart.`,
  );
}

function matchPath(pattern: readonly string[], parts: readonly string[]): Record<string, string> | null {
  if (pattern.length !== parts.length) return null;
  const params: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const part = parts[index] ?? '';
    if (!expected.startsWith('{')) {
      if (part !== expected) return null;
      continue;
    }
    const value = decode(part);
    if (value === null || value === '') return null;
    params[expected.slice(1, -1)] = value;
  }
  return params;
}

function decode(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
