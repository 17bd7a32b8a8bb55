import { MODEL_KEY_HEADERS } from './foreign-keys.ts';
import type { ServiceDefinition } from './service.ts';

const SENTINEL = 'AIzaSallyport000-{rand}';
const HOSTS = ['generativelanguage.googleapis.com'];

/** Fields that are keys, or let a client say in another place what it could not say here. */
const FIELDS = [...MODEL_KEY_HEADERS, 'x-goog-iam-authorization-token', 'x-http-method-override'];

/** Tokens; fields as a parameter; and another method, with which a form is read as the query. */
const PARAMETERS = ['$access_token', '$httpHeaders', '$httpMethod', 'access_token', 'bearer_token', 'oauth_token'];

/** The native API refuses a key as a bearer token, and the one that is compatible with OpenAI's refuses it in any other place. */
export const google: ServiceDefinition = {
  name: 'google',
  title: 'Google Gemini',
  variables: [
    { name: 'GEMINI_API_KEY', sentinel: SENTINEL },
    { name: 'GOOGLE_API_KEY', sentinel: SENTINEL },
  ],
  endpoints: [
    {
      hosts: HOSTS,
      paths: ['/*/openai/**'],
      overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
      strip: {
        headers: FIELDS.filter((name) => name !== 'authorization'),
        query: [...PARAMETERS, '$key', 'key'].toSorted(),
      },
    },
    {
      hosts: HOSTS,
      overwrite: [
        { kind: 'header', name: 'x-goog-api-key', text: '{value}' },
        { kind: 'query', name: 'key' },
        { kind: 'query', name: '$key' },
      ],
      strip: { headers: FIELDS.filter((name) => name !== 'x-goog-api-key'), query: PARAMETERS },
    },
  ],
  documentation: [
    'https://ai.google.dev/gemini-api/docs/api-key',
    'https://cloud.google.com/apis/docs/system-parameters',
  ],
};
