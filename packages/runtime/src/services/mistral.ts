import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition } from './service.ts';

/** Keys of codestral.mistral.ai are others, so that host is none of this service's. */
export const mistral: ServiceDefinition = {
  name: 'mistral',
  title: 'Mistral AI',
  variables: [{ name: 'MISTRAL_API_KEY', sentinel: 'sallyport0{rand}' }],
  endpoints: [bearerEndpoint(['api.mistral.ai'])],
  documentation: ['https://docs.mistral.ai/api/'],
};
