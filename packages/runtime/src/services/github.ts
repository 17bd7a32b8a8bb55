import type { ServiceDefinition } from './service.ts';

const SENTINEL = 'ghp_sallyport00000{rand}';

/** The API, and Git over HTTPS; what `gh` and `git` talk to. Downloads come by signed URLs from hosts that take no token. */
export const github: ServiceDefinition = {
  name: 'github',
  title: 'GitHub',
  variables: [
    { name: 'GH_TOKEN', sentinel: SENTINEL },
    { name: 'GITHUB_TOKEN', sentinel: SENTINEL },
  ],
  endpoints: [
    {
      hosts: ['api.github.com', 'uploads.github.com'],
      overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
      strip: { headers: ['cookie'], query: ['access_token', 'client_id', 'client_secret'] },
    },
    {
      hosts: ['github.com', 'gist.github.com'],
      overwrite: [{ kind: 'basic', user: 'x-access-token' }],
      strip: { headers: ['cookie'], query: ['access_token', 'client_secret', 'token'] },
    },
  ],
  documentation: [
    'https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api',
    'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation',
  ],
};
