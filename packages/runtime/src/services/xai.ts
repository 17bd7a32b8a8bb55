import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition, ServiceEndpoint } from './service.ts';

const api: ServiceEndpoint = bearerEndpoint(['api.x.ai']);

/** In browsers the voice API takes its key from a WebSocket subprotocol. */
export const xai: ServiceDefinition = {
  name: 'xai',
  title: 'xAI',
  variables: [
    { name: 'XAI_API_KEY', sentinel: 'xai-sallyport0sentinel0no0real0key0is0in0this0sandbox000000000{rand}' },
  ],
  endpoints: [{ ...api, overwrite: [...api.overwrite, { kind: 'subprotocol', prefix: 'xai-client-secret.' }] }],
  documentation: ['https://docs.x.ai/developers/quickstart'],
};
