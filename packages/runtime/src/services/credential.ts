import { SallyportError } from '@sallyport/sdk';
import { quote } from '../policy/quoted-text.ts';
import type { ServiceCredential } from '../secrets/bound-service.ts';
import { checkSecretValue } from '../secrets/secret-spec.ts';
import type { SecretValue } from '../secrets/secret-value.ts';
import type { ServiceDefinition } from './service.ts';

const AWS_VARIABLES = {
  accessKeyId: 'AWS_ACCESS_KEY_ID',
  secretAccessKey: 'AWS_SECRET_ACCESS_KEY',
  sessionToken: 'AWS_SESSION_TOKEN',
} as const;

/** What AWS keys look like as one value, for people who are asked for it. */
export const AWS_FORM = 'ID:SECRET[:SESSION_TOKEN]';

/** Whether a service is asked with AWS keys, in the form `ID:SECRET[:SESSION_TOKEN]`, instead of one token. */
export function wantsAwsKeys(definition: ServiceDefinition): boolean {
  return definition.endpoints.some(({ signer }) => signer === 'aws');
}

/** What a `credential_process` prints, and `aws configure export-credentials`. */
function partsOfProcessOutput(text: string): readonly string[] {
  let keys: unknown;
  try {
    keys = JSON.parse(text);
  } catch {
    return [];
  }
  const {
    AccessKeyId: id,
    SecretAccessKey: secret,
    SessionToken: token,
  } = { ...(keys as Record<string, unknown> | null) };
  return [id, secret, ...(token === undefined || token === null || token === '' ? [] : [token])].map((part) =>
    typeof part === 'string' ? part : '',
  );
}

/**
 * Reads the value of a service: its token; or AWS keys, as `ID:SECRET[:SESSION_TOKEN]` or as a `credential_process` prints them.
 *
 * @throws SallyportError INVALID_SECRET_VALUE, SECRET_VALUE_TOO_SHORT; nothing of the value is in the message.
 */
export function readCredential(definition: ServiceDefinition, text: string): ServiceCredential {
  if (!wantsAwsKeys(definition)) {
    return { kind: 'token', value: checkSecretValue(text, definition.name, [{ kind: 'header' }]) };
  }
  const parts = text.trimStart().startsWith('{') ? partsOfProcessOutput(text) : text.split(':');
  const [accessKeyId = '', secretAccessKey = '', ...rest] = parts;
  if (rest.length > 1 || secretAccessKey === '' || rest[0] === '' || !/^[A-Z0-9]{16,128}$/.test(accessKeyId)) {
    throw new SallyportError(
      'INVALID_SECRET_VALUE',
      `The value of ${quote(definition.name)} is not of the form ${AWS_FORM}: the access key's id (upper case letters and digits), its secret, and for temporary keys their session token.`,
    );
  }
  const [sessionToken] = rest;
  const check = (value: string, name: string): SecretValue => checkSecretValue(value, name, [{ kind: 'header' }]);
  return {
    kind: 'aws',
    accessKeyId,
    secretAccessKey: check(secretAccessKey, AWS_VARIABLES.secretAccessKey),
    sessionToken: sessionToken === undefined ? null : check(sessionToken, AWS_VARIABLES.sessionToken),
  };
}

/**
 * The value of a service in the environment of the host: of the first of its variables that is set, or its AWS keys. Null where there is none.
 */
export function credentialInEnvironment(
  definition: ServiceDefinition,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly variable: string; readonly text: string } | null {
  const read = (name: string): string | null => environment[name] || null;
  if (wantsAwsKeys(definition)) {
    const [id, secret, token] = [
      read(AWS_VARIABLES.accessKeyId),
      read(AWS_VARIABLES.secretAccessKey),
      read(AWS_VARIABLES.sessionToken),
    ];
    if (id === null || secret === null) return null;
    return { variable: AWS_VARIABLES.accessKeyId, text: [id, secret, ...(token === null ? [] : [token])].join(':') };
  }
  for (const { name } of definition.variables) {
    const text = read(name);
    if (text !== null) return { variable: name, text };
  }
  return null;
}
