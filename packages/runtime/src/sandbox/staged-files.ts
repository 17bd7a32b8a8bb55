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
  const entries: Entry[] = [];
  const directories = new Set<string>(['']);
  const addDirectory = (name: string, mode: number) => {
    if (directories.has(name)) return;
    directories.add(name);
    addEntry(entries, { name, type: '5', mode, content: NOTHING, target: '' });
  };
  for (const file of files) {
    for (let slash = file.path.indexOf('/', 1); slash > 0; slash = file.path.indexOf('/', slash + 1)) {
      addDirectory(file.path.slice(1, slash + 1), 0o755);
    }
    const name = file.path.slice(1);
    switch (file.kind) {
      case 'file':
        addEntry(entries, { name, type: '0', mode: file.mode ?? 0o644, content: file.content, target: '' });
        break;
      case 'directory':
        addDirectory(`${name}/`, file.mode ?? 0o755);
        break;
      case 'link':
        addEntry(entries, { name, type: '2', mode: 0o777, content: NOTHING, target: file.target });
        break;
      default:
        file satisfies never;
    }
  }
  // One buffer for all: hundreds of small ones would keep the garbage collector busy while the sandbox starts.
  const blocks = entries.reduce((sum, { content }) => sum + 1 + blocksOf(content), 0) + CLOSING_BLOCKS;
  const archive = Buffer.alloc(blocks * BLOCK_BYTES);
  let offset = 0;
  for (const entry of entries) {
    writeHeader(archive.subarray(offset, offset + BLOCK_BYTES), entry);
    entry.content.copy(archive, offset + BLOCK_BYTES);
    offset += (1 + blocksOf(entry.content)) * BLOCK_BYTES;
  }
  return archive;
}

interface Entry {
  readonly name: string;
  readonly type: '0' | '2' | '5' | 'x';
  readonly mode: number;
  readonly content: Buffer;
  readonly target: string;
}

const NOTHING = Buffer.alloc(0);
const MAGIC = 'ustar\x0000';
const MAGIC_SUM = Buffer.from(MAGIC, 'latin1').reduce((sum, byte) => sum + byte, 0);
/** Two empty blocks end an archive. */
const CLOSING_BLOCKS = 2;

function blocksOf(content: Buffer): number {
  return Math.ceil(content.length / BLOCK_BYTES);
}

function addEntry(entries: Entry[], entry: Entry): void {
  const pax = [
    Buffer.byteLength(entry.name) > MAX_NAME_BYTES ? paxRecord('path', entry.name) : '',
    Buffer.byteLength(entry.target) > MAX_NAME_BYTES ? paxRecord('linkpath', entry.target) : '',
  ].join('');
  if (pax !== '') entries.push({ name: 'pax', type: 'x', mode: 0o644, content: Buffer.from(pax), target: '' });
  entries.push(entry);
}

function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(body);
  // The length counts its own digits.
  while (length !== Buffer.byteLength(`${length}${body}`)) length = Buffer.byteLength(`${length}${body}`);
  return `${length}${body}`;
}

/** Writes a header into an empty block; names that are too long are cut, their pax header has the whole. */
function writeHeader(block: Buffer, { name, type, mode, content, target }: Entry): void {
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  const nameBytes = block.write(name, 0, MAX_NAME_BYTES);
  block.write(
    `${octal(mode, 8)}${octal(0, 8)}${octal(0, 8)}${octal(content.length, 12)}${octal(0, 12)}        ${type}`,
    100,
    'latin1',
  );
  const targetBytes = block.write(target, 157, MAX_NAME_BYTES);
  block.write(MAGIC, 257, 'latin1');
  // By index, and of what was written: all bytes of hundreds of headers are what a start would spend 4 ms on.
  let sum = MAGIC_SUM;
  for (let index = 0; index < nameBytes; index += 1) sum += block[index] ?? 0;
  for (let index = 100; index < 157 + targetBytes; index += 1) sum += block[index] ?? 0;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}
