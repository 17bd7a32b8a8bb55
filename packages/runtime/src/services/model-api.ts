import { MODEL_KEY_HEADERS, MODEL_KEY_PARAMETERS } from './foreign-keys.ts';
import type { ServiceEndpoint } from './service.ts';

/** An API of models that takes its key as `Authorization: Bearer`. */
export function bearerEndpoint(hosts: readonly string[]): ServiceEndpoint {
  return {
    hosts,
    overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
    strip: {
      headers: MODEL_KEY_HEADERS.filter((name) => name !== 'authorization'),
      query: MODEL_KEY_PARAMETERS,
    },
  };
}
