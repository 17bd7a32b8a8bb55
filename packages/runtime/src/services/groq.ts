import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition } from './service.ts';

export const groq: ServiceDefinition = {
  name: 'groq',
  title: 'Groq',
  variables: [{ name: 'GROQ_API_KEY', sentinel: 'gsk_sallyport0sentinel0no0real0key{rand}' }],
  endpoints: [bearerEndpoint(['api.groq.com'])],
  documentation: ['https://console.groq.com/docs/api-reference'],
};
