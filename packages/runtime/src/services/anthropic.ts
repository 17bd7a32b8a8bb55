import { MODEL_KEY_HEADERS, MODEL_KEY_PARAMETERS } from './foreign-keys.ts';
import type { ServiceDefinition } from './service.ts';

/**
 * The API takes a key as `x-api-key` or as a bearer token (its SDKs send that); one of the two leaves. A token of another account in
 * `Authorization` would be used instead of the key.
 */
export const anthropic: ServiceDefinition = {
  name: 'anthropic',
  title: 'Anthropic',
  variables: [
    {
      name: 'ANTHROPIC_API_KEY',
      sentinel: 'sk-ant-api03-sallyport-sentinel-no-real-key-is-in-this-sandbox_{rand}_the-gate-puts-it-in-AA',
    },
  ],
  endpoints: [
    {
      hosts: ['api.anthropic.com'],
      overwrite: [{ kind: 'header', name: 'x-api-key', text: '{value}' }],
      strip: { headers: MODEL_KEY_HEADERS.filter((name) => name !== 'x-api-key'), query: MODEL_KEY_PARAMETERS },
    },
  ],
  documentation: ['https://platform.claude.com/docs/en/api/migration-2026-10-21'],
};
