import type { DirectoryCreate, Rename } from '@sallyport/sdk';
import { FileAccess } from '../file-access.ts';
import type { SandboxRegistry } from '../registry.ts';
import { json, nothing, type ApiRequest, type Handler } from './exchange.ts';

/** Files of running sandboxes. */
export function fileHandlers(registry: SandboxRegistry) {
  const filesOf = ({ params }: ApiRequest) => new FileAccess(registry.find(params['sandbox'] ?? '').live);
  return {
    async readFile(request) {
      return { kind: 'bytes', content: await filesOf(request).read(pathOf(request)) };
    },
    async writeFile(request) {
      const { content, query } = request;
      const { mode } = query;
      const length = content.headers['content-length'];
      await filesOf(request).write(
        pathOf(request),
        content,
        length === undefined ? null : Number(length),
        typeof mode === 'string' ? mode : undefined,
      );
      return nothing;
    },
    getFileEntry: async (request) => json(await filesOf(request).stat(pathOf(request))),
    listFiles: async (request) => json({ entries: await filesOf(request).list(pathOf(request)) }),
    async removeFile(request) {
      await filesOf(request).remove(pathOf(request), request.query['recursive'] === true);
      return nothing;
    },
    async makeDirectory(request) {
      const { path, recursive } = request.body as DirectoryCreate;
      await filesOf(request).makeDirectory(path, recursive ?? false);
      return nothing;
    },
    async renameFile(request) {
      const { from, to } = request.body as Rename;
      await filesOf(request).rename(from, to);
      return nothing;
    },
    async readArchive(request) {
      return { kind: 'bytes', content: await filesOf(request).pack(pathOf(request)) };
    },
    async writeArchive(request) {
      await filesOf(request).unpack(pathOf(request), request.content);
      return nothing;
    },
  } satisfies Record<string, Handler>;
}

function pathOf({ query }: ApiRequest): string {
  return String(query['path']);
}
