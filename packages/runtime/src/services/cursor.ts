import { bearerEndpoint } from './model-api.ts';
import type { ServiceDefinition } from './service.ts';

/**
 * The API of api.cursor.com. The editor's and the CLI's own host, api2.cursor.sh, takes no key but session tokens that it makes of one,
 * so it is none of this service's.
 */
export const cursor: ServiceDefinition = {
  name: 'cursor',
  title: 'Cursor',
  variables: [{ name: 'CURSOR_API_KEY', sentinel: 'crsr_{hex:64}' }],
  endpoints: [bearerEndpoint(['api.cursor.com'])],
  documentation: ['https://cursor.com/docs/api', 'https://cursor.com/docs/cloud-agent/api/endpoints'],
};
