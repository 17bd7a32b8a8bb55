import type { DirectoryCreate, Rename } from '@sallyport/sdk';
import { FileAccess } from '../file-access.ts';
import type { SandboxRegistry } from '../registry.ts';
import { json, nothing, type ApiRequest, type Handler } from './exchange.ts';

/** Files of running sandboxes. */
export function fileHandlers(registry: SandboxRegistry) {
  const within = async <T>({ params }: ApiRequest, work: (files: FileAccess) => Promise<T>): Promise<T> =>
    await registry.find(params['sandbox'] ?? '').within(async (live) => await work(new FileAccess(live)));
  return {
    async readFile(request) {
      return {
        kind: 'bytes',
        content: await within(request, async (files) => await files.read(pathOf(request), request.signal)),
      };
    },
    async writeFile(request) {
      const { content, query } = request;
      const mode = typeof query['mode'] === 'string' ? query['mode'] : undefined;
      const written = content.headers['content-length'];
      const length = written === undefined ? null : Number(written);
      await within(request, async (files) => await files.write(pathOf(request), content, length, mode));
      return nothing;
    },
    getFileEntry: async (request) => json(await within(request, async (files) => await files.stat(pathOf(request)))),
    async listFiles(request) {
      return json({ entries: await within(request, async (files) => await files.list(pathOf(request))) });
    },
    async removeFile(request) {
      const isRecursive = request.query['recursive'] === true;
      await within(request, async (files) => await files.remove(pathOf(request), isRecursive));
      return nothing;
    },
    async makeDirectory(request) {
      const { path, recursive = false } = request.body as DirectoryCreate;
      await within(request, async (files) => await files.makeDirectory(path, recursive));
      return nothing;
    },
    async renameFile(request) {
      const { from, to } = request.body as Rename;
      await within(request, async (files) => await files.rename(from, to));
      return nothing;
    },
    async readArchive(request) {
      return {
        kind: 'bytes',
        content: await within(request, async (files) => await files.pack(pathOf(request), request.signal)),
      };
    },
    async writeArchive(request) {
      await within(request, async (files) => await files.unpack(pathOf(request), request.content));
      return nothing;
    },
  } satisfies Record<string, Handler>;
}

function pathOf({ query }: ApiRequest): string {
  return String(query['path']);
}
