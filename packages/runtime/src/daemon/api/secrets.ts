import type { PolicyRule, SecretUpdate } from '@sallyport/sdk';
import { secretName } from '@sallyport/sdk/api';
import type { SandboxRegistry } from '../registry.ts';
import { json, nothing, type ApiRequest, type Handler } from './exchange.ts';
import { InvalidRequest } from './problem.ts';

/** Secrets and network rules of sandboxes, changed while they run. */
export function secretHandlers(registry: SandboxRegistry) {
  const find = ({ params }: ApiRequest) => registry.find(params['sandbox'] ?? '');
  return {
    listSecrets: async (request) => json({ secrets: await find(request).listSecrets() }),
    async setSecret(request) {
      return json(await find(request).setSecret(secretNameOf(request), request.body as SecretUpdate));
    },
    async removeSecret(request) {
      await find(request).removeSecret(secretNameOf(request));
      return nothing;
    },
    getPolicy: async (request) => json(await find(request).policy()),
    async addRule(request) {
      const sandbox = find(request);
      await sandbox.addRule(request.body as PolicyRule);
      return json(await sandbox.policy());
    },
    async removeRule(request) {
      const sandbox = find(request);
      await sandbox.removeRule(request.query as PolicyRule);
      return json(await sandbox.policy());
    },
  } satisfies Record<string, Handler>;
}

/** The name of a secret in a path. @throws InvalidRequest */
export function secretNameOf({ params }: ApiRequest): string {
  const result = secretName.safeParse(params['secret']);
  if (result.success) return result.data;
  throw new InvalidRequest('path', [{ path: 'secret', message: result.error.issues[0]?.message ?? 'It is no name' }]);
}
