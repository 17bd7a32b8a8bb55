import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition, ServiceEndpoint } from './service.ts';

const api: ServiceEndpoint = bearerEndpoint(['api.openai.com']);

/** In browsers the realtime API takes its key from a WebSocket subprotocol. */
export const openai: ServiceDefinition = {
  name: 'openai',
  title: 'OpenAI',
  variables: [
    {
      name: 'OPENAI_API_KEY',
      sentinel:
        'sk-proj-sallyport-sentinel-no-real-key-here_{rand}T3BlbkFJ_sallyport-sentinel-the-gate-puts-the-real-key-in-0000000_',
    },
  ],
  endpoints: [{ ...api, overwrite: [...api.overwrite, { kind: 'subprotocol', prefix: 'openai-insecure-api-key.' }] }],
  documentation: ['https://developers.openai.com/api/docs/guides/realtime-websocket'],
};
