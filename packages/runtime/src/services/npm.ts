import type { ServiceDefinition } from './service.ts';

const SENTINEL = 'npm_sallyport00000{rand}';

/** npm reads no variable by itself: an `.npmrc` names it, as in `//registry.npmjs.org/:_authToken=${NPM_TOKEN}`. */
export const npm: ServiceDefinition = {
  name: 'npm',
  title: 'npm registry',
  variables: [
    { name: 'NPM_TOKEN', sentinel: SENTINEL },
    { name: 'NODE_AUTH_TOKEN', sentinel: SENTINEL },
  ],
  endpoints: [
    {
      hosts: ['registry.npmjs.org'],
      overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
      strip: { headers: ['cookie'], query: ['_authToken', 'token'] },
    },
  ],
  documentation: ['https://docs.npmjs.com/using-private-packages-in-a-ci-cd-workflow'],
};
