export type { Overwrite, ServiceDefinition, ServiceEndpoint, ServiceVariable } from '../secrets/service-definition.ts';
