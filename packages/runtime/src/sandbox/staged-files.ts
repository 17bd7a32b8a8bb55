/** A file, directory or symbolic link that is laid out for a sandbox; the path is the one inside. */
export type StagedFile =
  | { readonly path: string; readonly kind: 'file'; readonly content: Buffer; readonly mode?: number }
  | { readonly path: string; readonly kind: 'directory'; readonly mode?: number }
  | { readonly path: string; readonly kind: 'link'; readonly target: string };

const BLOCK_BYTES = 512;
/** The largest number of bytes that a ustar header can name in one field. */
const MAX_NAME_BYTES = 100;

/**
 * Packs files as a tar archive (POSIX.1-1988 ustar), so that one `tar -x` inside the namespaces lays them all out:
 * the host's root cannot write there, its uid being in no map.
 *
 * Parent directories come with it. Long names become pax headers (POSIX.1-2001).
 */
export function packFiles(files: readonly StagedFile[]): Buffer {
  const blocks: Buffer[] = [];
  const directories = new Set<string>(['']);
  const addParents = (path: string) => {
    const parts = path.split('/').slice(1, -1);
    let parent = '';
    for (const part of parts) {
      parent = `${parent}${part}/`;
      if (directories.has(parent)) continue;
      directories.add(parent);
      blocks.push(...entry(parent, '5', 0o755, Buffer.alloc(0), ''));
    }
  };
  for (const file of files) {
    addParents(file.path);
    const name = file.path.slice(1);
    switch (file.kind) {
      case 'file':
        blocks.push(...entry(name, '0', file.mode ?? 0o644, file.content, ''));
        break;
      case 'directory':
        if (directories.has(`${name}/`)) break;
        directories.add(`${name}/`);
        blocks.push(...entry(`${name}/`, '5', file.mode ?? 0o755, Buffer.alloc(0), ''));
        break;
      case 'link':
        blocks.push(...entry(name, '2', 0o777, Buffer.alloc(0), file.target));
        break;
      default:
        file satisfies never;
    }
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function entry(name: string, type: string, mode: number, content: Buffer, target: string): Buffer[] {
  const blocks: Buffer[] = [];
  const pax = [
    Buffer.byteLength(name) > MAX_NAME_BYTES ? paxRecord('path', name) : '',
    Buffer.byteLength(target) > MAX_NAME_BYTES ? paxRecord('linkpath', target) : '',
  ].join('');
  if (pax !== '') blocks.push(header('pax', 'x', 0o644, Buffer.byteLength(pax), ''), padded(Buffer.from(pax)));
  blocks.push(header(name, type, mode, content.length, target), padded(content));
  return blocks;
}

function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(body);
  // The length counts its own digits.
  while (length !== Buffer.byteLength(`${length}${body}`)) length = Buffer.byteLength(`${length}${body}`);
  return `${length}${body}`;
}

function header(name: string, type: string, mode: number, size: number, target: string): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  Buffer.from(name).copy(block, 0, 0, MAX_NAME_BYTES);
  block.write(octal(mode, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  block.write(octal(size, 12), 124, 'latin1');
  block.write(octal(0, 12), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(type, 156, 'latin1');
  Buffer.from(target).copy(block, 157, 0, MAX_NAME_BYTES);
  block.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function padded(content: Buffer): Buffer {
  const rest = content.length % BLOCK_BYTES;
  return rest === 0 ? content : Buffer.concat([content, Buffer.alloc(BLOCK_BYTES - rest)]);
}
