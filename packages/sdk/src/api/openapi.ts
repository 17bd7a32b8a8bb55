import { z } from 'zod';
import { ENDPOINTS, type Endpoint, type ResponseBody } from './endpoints.ts';
import { problemSchema } from './problem.ts';

const EVENT_STREAM = 'text/event-stream';
const PROBLEM = 'application/problem+json';

const reference = (id: string) => `#/components/schemas/${id}`;

/** A schema of its own in `components`, as a reference; any other in place. */
function describeSchema(schema: z.ZodType): object {
  const { id } = schema.meta() ?? {};
  if (typeof id === 'string') return { $ref: reference(id) };
  return withoutDialect(z.toJSONSchema(schema, { io: 'input' }));
}

function withoutDialect(schema: object): object {
  const { $schema: _dialect, $id: _id, id: _name, ...rest } = schema as Record<string, unknown>;
  return rest;
}

function describeResponse(...bodies: readonly ResponseBody[]): object {
  const content: Record<string, object> = {};
  for (const body of bodies) {
    switch (body.kind) {
      case 'json':
        content['application/json'] = { schema: describeSchema(body.schema) };
        break;
      case 'events':
        content[EVENT_STREAM] = { schema: { type: 'string' }, 'x-event-data': describeSchema(body.schema) };
        break;
      case 'binary':
        content[body.mediaType] = {};
        break;
      case 'none':
        return { description: 'Done.' };
      default:
        body satisfies never;
    }
  }
  return { description: 'As asked for.', content };
}

function describeParameters({ path, query }: Endpoint): object[] {
  const inPath = [...path.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const inQuery = Object.entries(query?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: !(schema as z.ZodType).safeParse(undefined).success,
    schema: describeSchema(schema as z.ZodType),
  }));
  return [...inPath, ...inQuery];
}

function describeOperation(operationId: string, endpoint: Endpoint): object {
  const { body, response, stream } = endpoint;
  const parameters = describeParameters(endpoint);
  return {
    operationId,
    tags: [endpoint.tag],
    summary: endpoint.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            content:
              body.kind === 'json'
                ? { 'application/json': { schema: describeSchema(body.schema) } }
                : { [body.mediaType]: {} },
          },
        }),
    responses: {
      [response.status]: describeResponse(response, ...(stream === undefined ? [] : [stream])),
      default: {
        description: 'What went wrong.',
        content: { [PROBLEM]: { schema: describeSchema(problemSchema) } },
      },
    },
  };
}

/** The OpenAPI 3.1 description of the daemon's API, made from the schemas that it checks requests by. */
export function describeApi(): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const [id, endpoint] of Object.entries(ENDPOINTS) as [string, Endpoint][]) {
    (paths[endpoint.path] ??= {})[endpoint.method.toLowerCase()] = describeOperation(id, endpoint);
  }
  const { schemas } = z.toJSONSchema(z.globalRegistry, { uri: reference, io: 'input' });
  const named = Object.entries(schemas)
    .map(([id, schema]): [string, object] => [id, withoutDialect(schema)])
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport daemon',
      version: 'v1',
      description: 'HTTP over the Unix socket of the daemon, which belongs to one user.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: { schemas: Object.fromEntries(named) },
  };
}
