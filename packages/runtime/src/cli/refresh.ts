import { SallyportError } from '@sallyport/sdk';
import { parseDuration } from '../sandbox/limits.ts';
import { MIN_REFRESH_MS } from '../sources/cached-source.ts';

/**
 * `--refresh DURATION|on-demand`: how long a fetched value is used, in ms; null: until an upstream refuses it.
 *
 * @throws SallyportError INVALID_LIMIT.
 */
export function parseRefresh(text: string): number | null {
  if (text === 'on-demand') return null;
  const refreshMs = parseDuration(text);
  if (refreshMs >= MIN_REFRESH_MS) return refreshMs;
  throw new SallyportError(
    'INVALID_LIMIT',
    `${JSON.stringify(text)} is too short a life for a value: at least ${MIN_REFRESH_MS / 1000}s is needed, or "on-demand".`,
  );
}
