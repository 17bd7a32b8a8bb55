import { GIT_PATHS } from './foreign-keys.ts';
import type { ServiceDefinition, ServiceEndpoint } from './service.ts';

/** GitLab takes tokens from these as well, and they would count instead of `Authorization`. */
const strip: ServiceEndpoint['strip'] = {
  headers: ['cookie', 'deploy-token', 'job-token', 'private-token'],
  query: ['access_token', 'bearer_token', 'feed_token', 'job_token', 'private_token', 'rss_token'],
};

/** Personal, project and group access tokens, and OAuth tokens: both schemes take each of them. */
export const gitlab: ServiceDefinition = {
  name: 'gitlab',
  title: 'GitLab.com',
  variables: [{ name: 'GITLAB_TOKEN', sentinel: 'glpat-{base62:20}' }],
  endpoints: [
    { hosts: ['gitlab.com'], paths: GIT_PATHS, overwrite: [{ kind: 'basic', user: 'oauth2' }], strip },
    {
      hosts: ['gitlab.com'],
      overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
      strip,
    },
  ],
  documentation: [
    'https://docs.gitlab.com/api/rest/authentication/',
    'https://docs.gitlab.com/api/oauth2/#access-git-over-https-with-access-token',
  ],
};
