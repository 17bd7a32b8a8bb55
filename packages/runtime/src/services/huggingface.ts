import { GIT_PATHS } from './foreign-keys.ts';
import type { ServiceDefinition, ServiceEndpoint } from './service.ts';

const SENTINEL = 'hf_{letters:34}';
const strip: ServiceEndpoint['strip'] = { headers: ['api-key', 'cookie', 'x-api-key'], query: ['token'] };

/** The Hub, its Git and its inference router. Files come by signed URLs from hosts that take no token. */
export const huggingface: ServiceDefinition = {
  name: 'huggingface',
  title: 'Hugging Face',
  variables: [
    { name: 'HF_TOKEN', sentinel: SENTINEL },
    { name: 'HUGGING_FACE_HUB_TOKEN', sentinel: SENTINEL },
  ],
  endpoints: [
    // The user name is not looked at.
    { hosts: ['huggingface.co'], paths: GIT_PATHS, overwrite: [{ kind: 'basic', user: 'hf_user' }], strip },
    {
      hosts: ['huggingface.co', 'router.huggingface.co', 'api-inference.huggingface.co'],
      overwrite: [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' }],
      strip,
    },
  ],
  documentation: [
    'https://huggingface.co/docs/hub/security-tokens',
    'https://huggingface.co/blog/password-git-deprecation',
  ],
};
