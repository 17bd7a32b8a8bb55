// Makes one file of each program of the command line, and of each that it starts: `node tools/bundle.ts [CHECKOUT]`. Node loads one in a fraction of the time that its two hundred
// modules take, without stripping types. `npm run build` and, in a checkout, the launcher use it.
import { hash } from 'node:crypto';
import { isBuiltin } from 'node:module';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

/** Where the bundles lie in the runtime's package: as deep as their sources, which find the package by their own place. */
const OUTPUT = 'dist/cli';

/** A program that becomes a file of its own. */
interface Bundle {
  /** A module of the runtime, or a package. */
  readonly source: string;
  /** In {@link OUTPUT}; another program looks for it under this name. */
  readonly output: string;
  /** Packages that become a part of it; all others are what npm installs, loaded when they are needed. */
  readonly included: readonly string[] | 'all';
}

/** What each run needs. */
const COMMAND_LINE_PACKAGES = ['@sallyport/sdk', 'commander', 'ipaddr.js'];

/** A package that few runs need, and its bundle. */
const SIGNATURES = { source: '@smithy/signature-v4', output: 'signature-v4.cjs' };

/** The list of public suffixes, which wildcards are held against, and its bundle: loaded when its function is first called (5 ms). */
const SUFFIXES = { source: 'tldts', output: 'tldts.cjs', functions: ['parse'] };

const BUNDLES: readonly Bundle[] = [
  // First: where there is a command line, there is what it starts.
  { source: 'src/tls/certificate-worker.ts', output: 'certificate-worker.cjs', included: 'all' },
  { source: 'src/stores/age-worker.ts', output: 'age-worker.cjs', included: 'all' },
  { source: 'src/stores/keychain-program.ts', output: 'keychain-program.cjs', included: [] },
  { ...SIGNATURES, included: 'all' },
  { ...SUFFIXES, included: 'all' },
  { source: 'src/engine/gate-worker.ts', output: 'gate-worker.cjs', included: COMMAND_LINE_PACKAGES },
  { source: 'src/cli/run-main.ts', output: 'run.cjs', included: COMMAND_LINE_PACKAGES },
  { source: 'src/cli/commands-main.ts', output: 'commands.cjs', included: COMMAND_LINE_PACKAGES },
  { source: 'src/cli/loader.ts', output: 'main.cjs', included: [] },
];

/** What stands in for a package until it is called. */
const LATE = 'late';

/** Whose licences the bundles carry. */
const NOTICES = 'THIRD-PARTY-NOTICES.txt';

/** What a licence file does not say. */
const FURTHER_NOTICES: Readonly<Record<string, string>> = {
  tldts:
    'Contains data of the Public Suffix List, https://publicsuffix.org/list/, under the Mozilla Public License 2.0.\n\n',
};

/**
 * Bundles the command line of the checkout at `root`, and the thread that makes certificates. Names and line breaks stay, so that a stack can
 * be read; comments name the sources.
 *
 * A file appears all at once, and its modification time is the moment at which the sources began to be read: what changed since
 * then has a later change time.
 *
 * @throws Error when a source cannot be bundled; esbuild has said why.
 */
export async function bundleCommandLine(root: string): Promise<void> {
  const directory = join(resolve(root), 'packages', 'runtime');
  const startedAt = new Date();
  const output = join(directory, OUTPUT);
  mkdirSync(output, { recursive: true });
  const partial = (name: string): string => join(output, `${name}.${process.pid}`);
  try {
    const inputs = await Promise.all(BUNDLES.map((bundle) => bundleProgram(directory, bundle, partial(bundle.output))));
    // First: there is no bundle without its notices.
    writeFileSync(join(output, NOTICES), noticesOf(inputs.flat()));
    for (const { output: name } of BUNDLES) {
      utimesSync(partial(name), startedAt, startedAt);
      renameSync(partial(name), join(output, name));
    }
  } finally {
    for (const { output: name } of BUNDLES) rmSync(partial(name), { force: true });
  }
}

/** Writes one bundle and returns the files that it was made of. */
async function bundleProgram(directory: string, { source, included }: Bundle, outfile: string): Promise<string[]> {
  const isIncluded = (path: string): boolean =>
    included === 'all' ? !isBuiltin(path) : included.some((name) => path === name || path.startsWith(`${name}/`));
  const { metafile, outputFiles } = await build({
    metafile: true,
    write: false,
    absWorkingDir: directory,
    entryPoints: [source.startsWith('src/') ? join(directory, source) : source],
    outfile,
    bundle: true,
    platform: 'node',
    // What a module imports is loaded with it; an ES module would load it at the very start, whatever is imported late.
    format: 'cjs',
    banner: { js: `const importMetaUrl = require('node:url').pathToFileURL(__filename).href;` },
    define: { 'import.meta.url': 'importMetaUrl' },
    target: 'node24',
    // `import()` in code that the loader compiles is an experiment of Node's, which says so on the terminal; `require` does the same here.
    supported: { 'dynamic-import': false },
    conditions: ['sallyport-source'],
    // ES modules where a package has both: what is not used of them is left out.
    mainFields: ['module', 'main'],
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [
      {
        name: 'other-packages-stay-outside',
        setup(builder) {
          builder.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
            if (kind === 'entry-point' || isIncluded(path)) return undefined;
            if (path === SUFFIXES.source) return { path, namespace: LATE };
            return { path: path === SIGNATURES.source ? `./${SIGNATURES.output}` : path, external: true };
          });
          builder.onResolve({ filter: /^\./, namespace: LATE }, ({ path }) => ({ path, external: true }));
          builder.onLoad({ filter: /^/, namespace: LATE }, () => ({
            contents: SUFFIXES.functions
              .map((name) => `exports.${name} = (...words) => require('./${SUFFIXES.output}').${name}(...words);`)
              .join('\n'),
          }));
        },
      },
    ],
  });
  // In code esbuild escapes what is not ASCII; in comments nobody misses it. A string of bytes takes half of the time and memory.
  const text = (outputFiles[0]?.text ?? '').replaceAll(/^ *(?:\*|.*(?:\/\/|\/\*)).*$/gm, (line) =>
    line.replaceAll(/[^\0-\x7f]/g, '?'),
  );
  if (/[^\0-\x7f]/.test(text)) throw new Error(`${source} does not become ASCII.`);
  // By its id the loader tells whose compiled code is kept.
  writeFileSync(outfile, `${text}// ${hash('sha256', text)}\n`);
  return Object.keys(metafile.inputs)
    .filter((path) => !path.startsWith(`${LATE}:`))
    .map((path) => join(directory, path));
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
  return `The files beside this one contain parts of these packages.\n\n${notices.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

if (import.meta.main) await bundleCommandLine(process.argv[2] ?? '.');
