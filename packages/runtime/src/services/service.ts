export type { Overwrite, ServiceDefinition, ServiceEndpoint } from '../secrets/service-definition.ts';
