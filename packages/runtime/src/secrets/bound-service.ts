import { SallyportError } from '@sallyport/sdk';
import { parsePathGlob, type PathGlob } from '../policy/path-glob.ts';
import { quote } from '../policy/quoted-text.ts';
import type { SecretHost } from './bound-secret.ts';
import { readSecretHosts } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';
import type { ServiceDefinition, ServiceEndpoint } from './service-definition.ts';

/** What a service is asked with. */
export type ServiceCredential =
  | { readonly kind: 'token'; readonly value: SecretValue }
  | {
      readonly kind: 'aws';
      /** No secret, but the sandbox is not to know whose keys are used. */
      readonly accessKeyId: string;
      readonly secretAccessKey: SecretValue;
      readonly sessionToken: SecretValue | null;
    };

/** A service before its hosts were read. */
export interface ServiceInput {
  readonly definition: ServiceDefinition;
  /** Null while it is not known: then requests to the service fail. */
  readonly credential: ServiceCredential | null;
  /**
   * What each of its variables holds, at least 8 characters; one at least, even where the sandbox has none of the variables: the first is
   * what a token becomes in responses.
   */
  readonly sentinels: ReadonlyMap<string, string>;
}

/** A service as the gate uses it. */
export interface BoundService extends ServiceInput {
  /** What audit events call it. */
  readonly name: string;
  readonly endpoints: readonly BoundEndpoint[];
}

/** An endpoint whose hosts and paths were read. */
export interface BoundEndpoint {
  readonly endpoint: ServiceEndpoint;
  readonly hosts: readonly SecretHost[];
  /** Null for any path. */
  readonly paths: readonly PathGlob[] | null;
}

/** An endpoint of a service to which an authority belongs. */
export interface ServiceUse extends BoundEndpoint {
  readonly service: BoundService;
}

/** Reads the hosts and paths of a service. @throws SallyportError INVALID_HOST_PATTERN, INVALID_SECRET_SPEC, INVALID_PATH_GLOB */
export function bindService(input: ServiceInput): BoundService {
  const { definition } = input;
  if (input.sentinels.size === 0) {
    throw new SallyportError('INTERNAL', `Nothing stands for the value of the service ${quote(definition.name)}.`);
  }
  const endpoints = definition.endpoints.map((endpoint) => {
    const hosts = readSecretHosts(endpoint.hosts, definition.name);
    const clear = hosts.find(({ scheme }) => scheme !== 'https');
    if (clear !== undefined) {
      throw new SallyportError(
        'INVALID_HOST_PATTERN',
        `The service ${quote(definition.name)} names ${quote(clear.pattern.text)} in clear. Services are reached by TLS only.`,
      );
    }
    return { endpoint, hosts, paths: endpoint.paths?.map(parsePathGlob) ?? null };
  });
  return { ...input, name: definition.name, endpoints };
}

/** The variable of each part of the credential where a service is asked with AWS keys. */
const AWS_VARIABLES = {
  accessKeyId: 'AWS_ACCESS_KEY_ID',
  secretAccessKey: 'AWS_SECRET_ACCESS_KEY',
  sessionToken: 'AWS_SESSION_TOKEN',
} as const;

/** A value that the sandbox must not see, and what it sees instead. */
export interface ProtectedValue {
  /** As audit events call it. */
  readonly name: string;
  readonly placeholder: string;
  readonly value: SecretValue;
  /** False for what is only hidden, such as the name of a key. */
  readonly isSecret: boolean;
}

/** What of a service the sandbox must not see: the token, which comes back as the first sentinel, or each part of AWS keys as its own. */
export function valuesOfService({ name, credential, sentinels }: BoundService): readonly ProtectedValue[] {
  const [first = ''] = sentinels.values();
  if (credential === null) return [];
  if (credential.kind === 'token') return [{ name, placeholder: first, value: credential.value, isSecret: true }];
  const { accessKeyId, secretAccessKey, sessionToken } = credential;
  const sentinelOf = (variable: string): string => sentinels.get(variable) ?? first;
  return [
    {
      name,
      placeholder: sentinelOf(AWS_VARIABLES.accessKeyId),
      value: new SecretValue(accessKeyId),
      isSecret: false,
    },
    { name, placeholder: sentinelOf(AWS_VARIABLES.secretAccessKey), value: secretAccessKey, isSecret: true },
    ...(sessionToken === null
      ? []
      : [{ name, placeholder: sentinelOf(AWS_VARIABLES.sessionToken), value: sessionToken, isSecret: true }]),
  ];
}

/** What stands for the values of services in the sandbox, each text once. */
export function sentinelsOf(
  services: readonly BoundService[],
): { readonly name: string; readonly placeholder: string }[] {
  return services.flatMap(({ name, sentinels }) =>
    [...new Set(sentinels.values())].map((placeholder) => ({ name, placeholder })),
  );
}
