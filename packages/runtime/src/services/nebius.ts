import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition } from './service.ts';

/** Nebius Token Factory, once AI Studio: the same keys under three names. */
export const nebius: ServiceDefinition = {
  name: 'nebius',
  title: 'Nebius',
  variables: [{ name: 'NEBIUS_API_KEY', sentinel: 'v1.sallyport-sentinel-no-real-key_{rand}' }],
  endpoints: [bearerEndpoint(['api.tokenfactory.nebius.com', 'api.studio.nebius.com', 'api.studio.nebius.ai'])],
  documentation: ['https://docs.tokenfactory.nebius.com/api-reference/introduction'],
};
