/**
 * Fields in which vendors of model APIs take a key: their own, and those of the APIs that they imitate (Anthropic's, Azure's, Google's).
 * A session's cookie is a key as well. None leaves beside the one that an entry overwrites.
 */
export const MODEL_KEY_HEADERS: readonly string[] = [
  'api-key',
  'authorization',
  'cookie',
  'x-api-key',
  'x-auth-token',
  'x-goog-api-key',
];

/** The parameters of a URL in which model APIs take a key or a token. */
export const MODEL_KEY_PARAMETERS: readonly string[] = ['access_token', 'api-key', 'api_key', 'apikey', 'key', 'token'];

/** What Git asks of a server over HTTPS, Git LFS included (gitprotocol-http, "Smart Clients"; Git LFS API, "Server Discovery"). */
export const GIT_PATHS: readonly string[] = [
  '/**/info/refs',
  '/**/git-upload-pack',
  '/**/git-receive-pack',
  '/**/info/lfs/**',
];
