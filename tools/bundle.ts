// Makes one file of the command line: `node tools/bundle.ts [CHECKOUT]`. Node loads it in a fraction of the time that its two hundred
// modules take, without stripping types. `npm run build` and, in a checkout, the launcher use it.
import { mkdirSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

/** Where the bundle lies in the runtime's package: as deep as its source, which finds the package by its own place. */
const BUNDLE = 'dist/cli/main.cjs';

/** Packages stay what npm installs, with their licences and versions; only our own modules become one file. */
const OUR_OWN = ['@sallyport/sdk'];

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
    await build({
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
          name: 'packages-stay-outside',
          setup(builder) {
            builder.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
              const isOurs =
                kind === 'entry-point' || OUR_OWN.some((name) => path === name || path.startsWith(`${name}/`));
              return isOurs ? undefined : { path, external: true };
            });
          },
        },
      ],
    });
    utimesSync(partial, startedAt, startedAt);
    renameSync(partial, output);
  } finally {
    rmSync(partial, { force: true });
  }
}

if (import.meta.main) await bundleCommandLine(process.argv[2] ?? '.');
