import type { BoundSecret } from './bound-secret.ts';
import type { BoundService, ServiceCredential } from './bound-service.ts';
import type { RedactionRule } from './forms.ts';
import { indexSecrets, type SecretSet } from './secret-set.ts';
import { SecretValue } from './secret-value.ts';

type PlainSecret = Omit<BoundSecret, 'value'> & { readonly value: string | null };
type PlainCredential =
  | { readonly kind: 'token'; readonly value: string | null }
  | {
      readonly kind: 'aws';
      readonly accessKeyId: string;
      readonly secretAccessKey: string | null;
      readonly sessionToken: string | null;
    };
type PlainService = Omit<BoundService, 'credential'> & { readonly credential: PlainCredential | null };

/** A set of secrets as plain data, values included, and the values that must not come back. For another thread of this process only. */
export interface TransferredSecrets {
  readonly secrets: readonly PlainSecret[];
  readonly services: readonly PlainService[];
  readonly earlier: readonly { readonly name: string; readonly placeholder: string; readonly values: string[] }[];
}

/** Gives a set, and values that secrets had before, to the one function that sends them to another thread of this process. */
export function transferSecrets<T>(
  set: SecretSet,
  earlier: readonly RedactionRule[],
  send: (secrets: TransferredSecrets) => T,
): T {
  return send({
    secrets: set.secrets.map((secret) => ({ ...secret, value: textOf(secret.value) })),
    services: set.services.map((service) => ({ ...service, credential: plainCredential(service.credential) })),
    earlier: earlier.map(({ name, placeholder, values }) => ({
      name,
      placeholder,
      values: values.map((value) => value.reveal()),
    })),
  });
}

/** Makes of what {@link transferSecrets} has sent what it was. */
export function receiveSecrets({ secrets, services, earlier }: TransferredSecrets): {
  readonly set: SecretSet;
  readonly earlier: readonly RedactionRule[];
} {
  return {
    set: indexSecrets(
      secrets.map((secret) => ({ ...secret, value: valueOf(secret.value) })),
      services.map((service) => ({ ...service, credential: boundCredential(service.credential) })),
    ),
    earlier: earlier.map((rule) => ({ ...rule, values: rule.values.map((text) => new SecretValue(text)) })),
  };
}

function textOf(value: SecretValue): string | null {
  return value.isKnown ? value.reveal() : null;
}

function valueOf(text: string | null): SecretValue {
  return text === null ? SecretValue.UNKNOWN : new SecretValue(text);
}

function plainCredential(credential: ServiceCredential | null): PlainCredential | null {
  if (credential === null) return null;
  if (credential.kind === 'token') return { kind: 'token', value: textOf(credential.value) };
  const { kind, accessKeyId, secretAccessKey, sessionToken } = credential;
  return {
    kind,
    accessKeyId,
    secretAccessKey: textOf(secretAccessKey),
    sessionToken: sessionToken === null ? null : textOf(sessionToken),
  };
}

function boundCredential(credential: PlainCredential | null): ServiceCredential | null {
  if (credential === null) return null;
  if (credential.kind === 'token') return { kind: 'token', value: valueOf(credential.value) };
  const { kind, accessKeyId, secretAccessKey, sessionToken } = credential;
  return {
    kind,
    accessKeyId,
    secretAccessKey: valueOf(secretAccessKey),
    sessionToken: sessionToken === null ? null : valueOf(sessionToken),
  };
}
