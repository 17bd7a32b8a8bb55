/**
 * Fuzz target for the archives that a sandbox sends: whatever is in one, unpacking it changes nothing outside of the copy, makes no link that
 * leads out of it, and ends in success or in a refusal.
 *
 * `node --conditions=sallyport-source fuzz/archive.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { HostDirectory } from '../packages/sdk/src/client/archive/host-directory.ts';
import { formatHeader, padding } from '../packages/sdk/src/client/archive/tar-format.ts';
import { unpack } from '../packages/sdk/src/client/archive/unpack.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';

const PARTS = ['out', 'a', 'b', 'c', '..', '.', '', '\0', 'a'.repeat(120), '\u00fc'];
const TYPES = ['0', '0', '2', '2', '5', '1', '6', 'x', 'L', 'K', 'g', 'S'];

type Entry = { name: string; type: string; target: string; content: string };
type Case = { entries: Entry[]; flips: { at: number; value: number }[]; chunk: number };

function pack({ entries, flips }: Case): Buffer {
  const blocks = entries.flatMap(({ name, type, target, content }) => {
    const bytes = Buffer.from(content);
    const header = Buffer.from(formatHeader({ name, type: '0', mode: 0o777, size: bytes.length, mtime: 1, target }));
    const block = header.subarray(-512);
    block.write(type, 156, 'latin1');
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return [header, bytes, padding(bytes.length)];
  });
  const archive = Buffer.concat([...blocks, Buffer.alloc(1024)]);
  for (const { at, value } of flips) archive[at % archive.length] = value;
  return archive;
}

async function* cut(bytes: Buffer, size: number): AsyncGenerator<Buffer, void, undefined> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size);
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-fuzz-archive-')));
  return {
    name: 'archive',
    generate(random) {
      const path = (): string => Array.from({ length: 1 + random.below(4) }, () => random.pick(PARTS)).join('/');
      const entries = Array.from({ length: 1 + random.below(7) }, () => ({
        name: random.oneIn(8) ? path() : `out/${Array.from({ length: 1 + random.below(3) }, () => random.pick(['a', 'b', 'c'])).join('/')}`,
        type: random.pick(TYPES),
        target: random.oneIn(3) ? path() : random.pick(['a', '../a', '../../b', 'a/b', '..', 'b/..', '/', 'c']),
        content: random.pick(['', 'x', 'out/../../evil\0', '16 path=../evil\n', '20 linkpath=../../x\n', 'y'.repeat(700)]),
      })); // prettier-ignore
      const flips = random.oneIn(4) ? [{ at: random.below(4096), value: random.below(256) }] : [];
      return {
        entries: [{ name: 'out/', type: '5', target: '', content: '' }, ...entries],
        flips,
        chunk: 1 + random.below(1500),
      };
    },
    async check(data, note) {
      const target = join(base, 'target');
      rmSync(target, { recursive: true, force: true });
      mkdirSync(target);
      writeFileSync(join(base, 'guard'), 'guard');
      const directory = await HostDirectory.open(target);
      let leftOut = 0;
      try {
        const onLeftOut = (): void => void (leftOut += 1);
        await unpack(cut(pack(data), data.chunk), { directory, base: 'out', as: 'copy', umask: 0o022, onLeftOut });
        note(leftOut > 0 ? 'parts left out' : 'unpacked');
      } catch (error) {
        if (!(error instanceof SallyportError)) return `no refusal: ${String(error)}`;
        note(error.code);
      } finally {
        await directory.close();
      }
      const around = readdirSync(base).toSorted().join(' ');
      if (around !== 'guard target') return `outside: ${around}`;
      const inside = readdirSync(target).join(' ');
      if (inside !== '' && inside !== 'copy') return `beside the copy: ${inside}`;
      for (const entry of readdirSync(target, { recursive: true, withFileTypes: true })) {
        if (entry.name.startsWith('.sallyport-')) return `a half of a file: ${entry.name}`;
        if (!entry.isSymbolicLink()) continue;
        const link = join(entry.parentPath, entry.name);
        const leads = existsSync(link) ? realpathSync(link) : resolve(dirname(link));
        if (leads !== join(target, 'copy') && !leads.startsWith(join(target, 'copy/'))) return `leads out: ${link}`;
      }
      return null;
    },
    close: () => rmSync(base, { recursive: true }),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 2000);
