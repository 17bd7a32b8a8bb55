import type { SandboxCreate, SandboxStop } from '@sallyport/sdk';
import type { SandboxRegistry } from '../registry.ts';
import { json, nothing, type ApiRequest, type Handler } from './exchange.ts';

/** How long a wait lasts at most, in ms; the client asks again. */
const MAX_WAIT_MS = 300_000;

/** Sandboxes: their life. */
export function sandboxHandlers(registry: SandboxRegistry) {
  const find = ({ params }: ApiRequest) => registry.find(params['sandbox'] ?? '');
  return {
    listSandboxes: async () => json({ sandboxes: registry.all.map(({ info }) => info) }),
    createSandbox: async ({ body }) => json((await registry.create(body as SandboxCreate)).info),
    getSandbox: async (request) => json(find(request).info),
    async removeSandbox(request) {
      await find(request).remove(request.query['force'] === true);
      return nothing;
    },
    async startSandbox(request) {
      const sandbox = find(request);
      await sandbox.start();
      return json(sandbox.info);
    },
    async stopSandbox(request) {
      const sandbox = find(request);
      await sandbox.stop((request.body as SandboxStop).timeoutMs);
      return json(sandbox.info);
    },
    async killSandbox(request) {
      const sandbox = find(request);
      await sandbox.stop(0);
      return json(sandbox.info);
    },
    async waitForSandbox(request) {
      const sandbox = find(request);
      const asked = request.query['timeoutMs'];
      const limit = AbortSignal.timeout(Math.min(typeof asked === 'number' ? asked : MAX_WAIT_MS, MAX_WAIT_MS));
      await sandbox.waitUntilStopped(AbortSignal.any([request.signal, limit]));
      return json(sandbox.info);
    },
    getStats: async (request) => json(await find(request).stats()),
  } satisfies Record<string, Handler>;
}
