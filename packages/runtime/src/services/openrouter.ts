import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition } from './service.ts';

export const openrouter: ServiceDefinition = {
  name: 'openrouter',
  title: 'OpenRouter',
  variables: [{ name: 'OPENROUTER_API_KEY', sentinel: 'sk-or-v1-{hex:64}' }],
  endpoints: [bearerEndpoint(['openrouter.ai'])],
  documentation: ['https://openrouter.ai/docs/api/reference/authentication'],
};
