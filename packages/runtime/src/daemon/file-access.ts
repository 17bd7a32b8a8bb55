import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SallyportError, type FileEntry } from '@sallyport/sdk';
import { printable } from '../airlock/namespace-diagnosis.ts';
import type { LastingSandbox } from '../engine/lasting-sandbox.ts';
import { startDirectExec } from '../sandbox/direct-exec.ts';

/** Exit statuses of the programs below, beyond what tools use. */
const STATUS = { missing: 84, directory: 85, notDirectory: 86, incomplete: 87, pipe: 88 } as const;

const MAX_REPORT_CHARACTERS = 4096;
/** The most that a listing may have, in bytes. */
const MAX_LISTING_BYTES = 64 * 1024 * 1024;

/** `$1` path. */
const READ_PROGRAM = `
[ -e "$1" ] || exit ${STATUS.missing}
[ ! -d "$1" ] || exit ${STATUS.directory}
[ ! -p "$1" ] && [ ! -S "$1" ] || exit ${STATUS.pipe}
exec cat -- "$1"
`;

/**
 * `$1` path, `$2` mode or nothing, `$3` how many bytes there must be, or nothing where that is not known: then the name of the temporary file
 * is printed, for the second step. A file is replaced as a whole or not at all.
 */
const WRITE_PROGRAM = `
[ ! -d "$1" ] || exit ${STATUS.directory}
folder=$(dirname -- "$1")
[ -d "$folder" ] || exit ${STATUS.missing}
new=$(mktemp -- "$folder/.sallyport-XXXXXXXX") || exit 1
cat > "$new" || { rm -f -- "$new"; exit 1; }
if [ -n "$2" ]; then chmod "$2" "$new"; elif [ -e "$1" ]; then chmod --reference="$1" "$new"; else chmod 644 "$new"; fi
if [ -z "$3" ]; then printf '%s' "$new"; exit 0; fi
if [ "$(stat -c %s "$new")" != "$3" ]; then rm -f -- "$new"; exit ${STATUS.incomplete}; fi
mv -f -T -- "$new" "$1"
`;

/** `$1` path, `$2` depth of what is listed, 0 or 1. Fields end with NUL; a link is not followed, but one to a directory is listed. */
const LIST_PROGRAM = `
if [ "$2" = 1 ]; then
  [ -e "$1" ] || exit ${STATUS.missing}
  [ -d "$1" ] || exit ${STATUS.notDirectory}
  cd -- "$1" || exit 1
  exec find . -mindepth 1 -maxdepth 1 -printf '%f\\0%y\\0%s\\0%m\\0%T@\\0%l\\0'
fi
[ -e "$1" ] || [ -L "$1" ] || exit ${STATUS.missing}
exec find "$1" -maxdepth 0 -printf '%f\\0%y\\0%s\\0%m\\0%T@\\0%l\\0'
`;

/** `$1` path, `$2` whether all that is in it. */
const REMOVE_PROGRAM = `
[ -e "$1" ] || [ -L "$1" ] || exit ${STATUS.missing}
if [ "$2" = true ]; then exec rm -rf -- "$1"; fi
if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir -- "$1"; fi
exec rm -f -- "$1"
`;

/** `$1` path, `$2` whether with all above it. */
const MAKE_PROGRAM = `
if [ "$2" = true ]; then exec mkdir -p -- "$1"; fi
[ -d "$(dirname -- "$1")" ] || exit ${STATUS.missing}
exec mkdir -- "$1"
`;

const RENAME_PROGRAM = `
[ -e "$1" ] || [ -L "$1" ] || exit ${STATUS.missing}
[ ! -d "$2" ] || exit ${STATUS.directory}
exec mv -f -T -- "$1" "$2"
`;

const PACK_PROGRAM = `
[ -e "$1" ] || [ -L "$1" ] || exit ${STATUS.missing}
cd -- "$(dirname -- "$1")" && exec tar --create --hard-dereference --file - -- "$(basename -- "$1")"
`;

const UNPACK_PROGRAM = `
[ -e "$1" ] || exit ${STATUS.missing}
[ -d "$1" ] || exit ${STATUS.notDirectory}
exec tar --extract --file - --no-same-owner --directory "$1"
`;

/**
 * The files of a running sandbox, as its commands see them. Everything is done inside, by the sandbox's own user: no path of the sandbox is ever
 * followed on the host, so no link in it leads anywhere.
 *
 * All throw SallyportError FILE_NOT_FOUND and FILE_FAILED.
 */
export class FileAccess {
  readonly #live: LastingSandbox;

  constructor(live: LastingSandbox) {
    this.#live = live;
  }

  /** The content of a file, once it is known that there is one. @param signal aborted when nobody waits for it any more. */
  async read(path: string, signal: AbortSignal): Promise<Readable> {
    return await this.#produce(READ_PROGRAM, path, signal);
  }

  /** Writes a file as a whole. @param length of the content in bytes, where it is known. */
  async write(path: string, content: Readable, length: number | null, mode: string | undefined): Promise<void> {
    const expected = length === null ? '' : String(length);
    const clear = async (written: Buffer): Promise<void> => {
      if (length === null) await this.remove(written.toString('utf8'), false);
    };
    const { stdout } = await this.#run(WRITE_PROGRAM, path, [mode ?? '', expected], content, clear);
    if (length !== null) return;
    // All of it came, or the pipeline would have failed.
    await this.#run(RENAME_PROGRAM, stdout.toString('utf8'), [path]);
  }

  async stat(path: string): Promise<FileEntry> {
    const { stdout } = await this.#run(LIST_PROGRAM, path, ['0']);
    const [entry] = parseEntries(stdout, () => path);
    if (entry === undefined) throw new SallyportError('FILE_NOT_FOUND', notThere(path));
    return entry;
  }

  async list(path: string): Promise<FileEntry[]> {
    const { stdout } = await this.#run(LIST_PROGRAM, path, ['1']);
    return parseEntries(stdout, (name) => posix.join(path, name)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  async remove(path: string, recursive: boolean): Promise<void> {
    await this.#run(REMOVE_PROGRAM, path, [String(recursive)]);
  }

  async makeDirectory(path: string, recursive: boolean): Promise<void> {
    await this.#run(MAKE_PROGRAM, path, [String(recursive)]);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#run(RENAME_PROGRAM, from, [to]);
  }

  /** A directory or a file as an archive. @param signal aborted when nobody waits for it any more. */
  async pack(path: string, signal: AbortSignal): Promise<Readable> {
    return await this.#produce(PACK_PROGRAM, path, signal);
  }

  async unpack(path: string, archive: Readable): Promise<void> {
    await this.#run(UNPACK_PROGRAM, path, [], archive);
  }

  #start(
    program: string,
    parameters: readonly string[],
  ): ChildProcess & { stdin: NonNullable<ChildProcess['stdin']>; stdout: Readable } {
    const { airlock, record } = this.#live;
    const command = ['/bin/sh', '-c', program, 'sallyport-files', ...parameters];
    const child = startDirectExec(airlock.holder, record.container, command);
    if (child.stdin === null || child.stdout === null) throw new TypeError('a program without streams');
    child.stdin.on('error', () => undefined);
    return Object.assign(child, { stdin: child.stdin, stdout: child.stdout });
  }

  /** Starts a program whose output is wanted, and waits until there is some, or its end. */
  async #produce(program: string, path: string, signal: AbortSignal): Promise<Readable> {
    const child = this.#start(program, [path]);
    child.stdin.end();
    // What waits for something inside that never comes would wait for ever.
    const leave = (): void => endGroup(child);
    signal.addEventListener('abort', leave, { once: true });
    child.once('close', () => signal.removeEventListener('abort', leave));
    if (signal.aborted) leave();
    const said = collect(child);
    const ended = once(child, 'close').then(([status]) => status as number | null);
    const readable = new Promise<null>((resolve) => child.stdout.once('readable', () => resolve(null)));
    const status = await Promise.race([readable, ended]);
    if (status !== null && status !== 0) throw explain(status, path, said());
    if (status === null) {
      // An empty file is "readable" as well, and so is a failure, whose status comes right after.
      if (child.stdout.readableLength === 0) {
        const late = await ended;
        if (late !== 0) throw explain(late, path, said());
      } else {
        void ended.then((late) => late !== 0 && child.stdout.destroy(explain(late, path, said())));
      }
    }
    return child.stdout;
  }

  async #run(
    program: string,
    path: string,
    parameters: readonly string[],
    input?: Readable,
    onCut: (stdout: Buffer) => Promise<void> = async () => undefined,
  ): Promise<{ stdout: Buffer }> {
    const child = this.#start(program, [path, ...parameters]);
    const said = collect(child);
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_LISTING_BYTES) chunks.push(chunk);
    });
    const ended = once(child, 'close').then(([status]) => status as number | null);
    if (input === undefined) child.stdin.end();
    else {
      try {
        await pipeline(input, child.stdin);
      } catch (cause) {
        // The program may have left early, and says why; or the client has.
        if (input.errored !== null || !input.readableEnded) {
          child.stdin.destroy();
          await ended;
          if (child.exitCode === 0 || child.exitCode === STATUS.incomplete) {
            if (child.exitCode === 0) await onCut(Buffer.concat(chunks)).catch(() => undefined);
            throw new SallyportError('FILE_FAILED', 'The content did not come whole; nothing was written.', { cause });
          }
        }
      }
    }
    const status = await ended;
    if (status !== 0) throw explain(status, path, said());
    if (bytes > MAX_LISTING_BYTES)
      throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} has too many entries to be listed.`);
    return { stdout: Buffer.concat(chunks) };
  }
}

/** Ends a program's side here; inside it ends with its output. */
function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function collect(child: ChildProcess): () => string {
  let text = '';
  child.stderr
    ?.setEncoding('utf8')
    .on('data', (part: string) => (text = (text + part).slice(0, MAX_REPORT_CHARACTERS)));
  return () => printable(text);
}

function notThere(path: string): string {
  return `There is nothing at ${JSON.stringify(path)} in the sandbox, or its directory does not exist.`;
}

function explain(status: number | null, path: string, said: string): SallyportError {
  const quoted = JSON.stringify(path);
  switch (status) {
    case STATUS.missing:
      return new SallyportError('FILE_NOT_FOUND', notThere(path));
    case STATUS.directory:
      return new SallyportError('FILE_FAILED', `${quoted} is a directory, or one is in its place.`);
    case STATUS.notDirectory:
      return new SallyportError('FILE_FAILED', `${quoted} is no directory.`);
    case STATUS.pipe:
      return new SallyportError('FILE_FAILED', `${quoted} is a pipe or a socket: it has no content of its own.`);
    case STATUS.incomplete:
      return new SallyportError('FILE_FAILED', `The content of ${quoted} did not come whole; nothing was written.`);
    default:
      return new SallyportError(
        'FILE_FAILED',
        `That did not work for ${quoted}: ${said === '' ? `status ${status ?? 'none'}` : JSON.stringify(said)}.`,
      );
  }
}

const FIELDS = 6;
const TYPES: Readonly<Record<string, FileEntry['type']>> = { f: 'file', d: 'directory', l: 'link' };

function parseEntries(listing: Buffer, pathOf: (name: string) => string): FileEntry[] {
  const fields = listing.toString('utf8').split('\0');
  const entries: FileEntry[] = [];
  for (let index = 0; index + FIELDS < fields.length + 1 && fields[index] !== ''; index += FIELDS) {
    const [name = '', type = '', size = '0', mode = '0', time = '0', target = ''] = fields.slice(index, index + FIELDS);
    entries.push({
      name,
      path: pathOf(name),
      type: TYPES[type] ?? 'other',
      size: Number(size),
      mode: Number.parseInt(mode, 8),
      modifiedAt: new Date(Number(time) * 1000).toISOString(),
      target: type === 'l' ? target : null,
    });
  }
  return entries;
}
