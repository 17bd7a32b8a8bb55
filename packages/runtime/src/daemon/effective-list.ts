import type { SecretInfo } from '@sallyport/sdk';
import type { EffectiveSecret } from '../engine/effective-secrets.ts';
import type { SandboxSecrets } from '../engine/sandbox-secrets.ts';
import { formatLocation, formatSecretHost } from '../secrets/secret-spec.ts';

/** A secret that counts in a sandbox without being its own, as the API shows it. */
export function showEffective(effective: EffectiveSecret, secrets: SandboxSecrets | null): SecretInfo {
  const { secret } = effective;
  const origin = secret === null ? 'environment' : secret.scope.kind;
  const updatedAt = new Date(secret?.updatedAt ?? 0).toISOString();
  const shared = { origin, kind: effective.kind, updatedAt } as const;
  switch (effective.kind) {
    case 'plain':
      return { ...shared, name: effective.secret.name, env: effective.env, placeholder: '', hosts: [], locations: [], available: true }; // prettier-ignore
    case 'custom': {
      const bound = secrets?.set.secrets.find(({ env }) => env === effective.env);
      return {
        ...shared,
        name: effective.secret.name,
        env: effective.env,
        placeholder: bound?.placeholder ?? '',
        hosts: bound?.hosts.map(formatSecretHost) ?? [],
        locations: bound?.locations.map(formatLocation) ?? [],
        available: bound?.value.isKnown === true,
      };
    }
    case 'service': {
      const { definition } = effective;
      const bound = secrets?.set.services.find(({ name }) => name === definition.name);
      const [variable = definition.variables[0]?.name ?? ''] = effective.variables;
      return {
        ...shared,
        name: definition.name,
        env: variable,
        placeholder: secrets?.variables.get(variable) ?? bound?.sentinels.get(variable) ?? '',
        hosts: definition.endpoints.flatMap(({ hosts }) => [...hosts]),
        locations: [],
        available: bound !== undefined && bound.credential !== null,
      };
    }
    default:
      throw new TypeError(`unknown secret ${String(effective satisfies never)}`);
  }
}
