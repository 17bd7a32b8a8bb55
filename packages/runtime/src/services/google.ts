import { MODEL_KEY_HEADERS } from './foreign-keys.ts';
import type { ServiceDefinition } from './service.ts';

const SENTINEL = 'AIzaSallyport000-{rand}';

/**
 * Google's APIs take tokens from parameters too, and fields from `$httpHeaders`; with another method they read a form as the query. What
 * does that does not leave.
 */
export const google: ServiceDefinition = {
  name: 'google',
  title: 'Google Gemini',
  variables: [
    { name: 'GEMINI_API_KEY', sentinel: SENTINEL },
    { name: 'GOOGLE_API_KEY', sentinel: SENTINEL },
  ],
  endpoints: [
    {
      hosts: ['generativelanguage.googleapis.com'],
      overwrite: [
        { kind: 'header', name: 'x-goog-api-key', text: '{value}' },
        { kind: 'query', name: 'key' },
        { kind: 'query', name: '$key' },
      ],
      strip: {
        headers: [
          ...MODEL_KEY_HEADERS.filter((name) => name !== 'x-goog-api-key'),
          'x-goog-iam-authorization-token',
          'x-http-method-override',
        ],
        query: ['$access_token', '$httpHeaders', '$httpMethod', 'access_token', 'bearer_token', 'oauth_token'],
      },
    },
  ],
  documentation: [
    'https://ai.google.dev/gemini-api/docs/api-key',
    'https://cloud.google.com/apis/docs/system-parameters',
  ],
};
