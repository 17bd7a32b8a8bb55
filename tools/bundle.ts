// Makes one file of the command line: `node tools/bundle.ts [CHECKOUT]`. Node loads it in a fraction of the time that its two hundred
// modules take, without stripping types. `npm run build` and, in a checkout, the launcher use it.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

/** Where the bundle lies in the runtime's package: as deep as its source, which finds the package by its own place. */
const BUNDLE = 'dist/cli/main.cjs';

/** Whose licences the bundle carries. */
const NOTICES = 'dist/cli/THIRD-PARTY-NOTICES.txt';

/** What becomes a part of the file beside our own modules: what each run needs. All else is what npm installs, loaded when it is needed. */
const INCLUDED = ['@sallyport/sdk', 'commander', 'ipaddr.js', 'tldts', 'tldts-core'];

/** What a licence file does not say. */
const FURTHER_NOTICES: Readonly<Record<string, string>> = {
  tldts:
    'Contains data of the Public Suffix List, https://publicsuffix.org/list/, under the Mozilla Public License 2.0.\n\n',
};

/**
 * Bundles the command line of the checkout at `root`. Names and line breaks stay, so that a stack can be read; comments name the sources.
 *
 * The file appears all at once, and its modification time is the moment at which the sources began to be read: what changed since
 * then has a later change time.
 *
 * @throws Error when a source cannot be bundled; esbuild has said why.
 */
export async function bundleCommandLine(root: string): Promise<void> {
  const directory = join(resolve(root), 'packages', 'runtime');
  const startedAt = new Date();
  const output = join(directory, BUNDLE);
  const partial = `${output}.${process.pid}`;
  mkdirSync(dirname(output), { recursive: true });
  try {
    const { metafile } = await build({
      metafile: true,
      absWorkingDir: directory,
      entryPoints: [join(directory, 'src/cli/main.ts')],
      outfile: partial,
      bundle: true,
      platform: 'node',
      // What a module imports is loaded with it; an ES module would load it at the very start, whatever is imported late.
      format: 'cjs',
      banner: { js: `const importMetaUrl = require('node:url').pathToFileURL(__filename).href;` },
      define: { 'import.meta.url': 'importMetaUrl' },
      target: 'node24',
      conditions: ['sallyport-source'],
      legalComments: 'none',
      logLevel: 'warning',
      plugins: [
        {
          name: 'other-packages-stay-outside',
          setup(builder) {
            builder.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
              const isIncluded =
                kind === 'entry-point' || INCLUDED.some((name) => path === name || path.startsWith(`${name}/`));
              return isIncluded ? undefined : { path, external: true };
            });
          },
        },
      ],
    });
    // First: there is no bundle without its notices.
    writeFileSync(
      join(directory, NOTICES),
      noticesOf(Object.keys(metafile.inputs).map((path) => join(directory, path))),
    );
    utimesSync(partial, startedAt, startedAt);
    renameSync(partial, output);
  } finally {
    rmSync(partial, { force: true });
  }
}

/** The licences of the packages that the files belong to. */
function noticesOf(files: readonly string[]): string {
  const MODULES = '/node_modules/';
  const packages = new Set<string>();
  for (const file of files) {
    const start = file.lastIndexOf(MODULES) + MODULES.length;
    if (start < MODULES.length) continue;
    const [first = '', second = ''] = file.slice(start).split('/');
    packages.add(join(file.slice(0, start), first.startsWith('@') ? join(first, second) : first));
  }
  const notices = [...packages].toSorted().map((directory) => {
    const { name, version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Record<
      string,
      string
    >;
    const file = readdirSync(directory).find((entry) => /^licen[cs]e(?:\.\w+)?$/i.test(entry));
    if (name === undefined || file === undefined) throw new Error(`${directory} has no licence file.`);
    return `${name} ${version}\n\n${FURTHER_NOTICES[name] ?? ''}${readFileSync(join(directory, file), 'utf8').trim()}\n`;
  });
  return `The file main.cjs contains parts of these packages.\n\n${notices.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

if (import.meta.main) await bundleCommandLine(process.argv[2] ?? '.');
