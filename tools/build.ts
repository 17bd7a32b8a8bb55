import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bundleCommandLine } from './bundle.ts';

/** In the order of their dependencies: a package is compiled against the declarations of those before it. */
const PACKAGES = ['sdk', 'runtime', 'gauntlet'] as const;

/** The package whose modules are not its interface: the compiler makes its index alone, the command line becomes one file. */
const COMMAND_LINE = 'runtime';

/** A path to a source file in a string, which the compiler rewrites only in `import` and `export`. */
const SOURCE_PATH = /['"`]\.{1,2}\/[^'"`\n]*(?<!\.d)\.ts['"`]/;

/** Compiles one package to its `dist` directory, with whatever else than TypeScript lies in `src` beside it. */
async function buildPackage(root: string, name: string): Promise<boolean> {
  const directory = join(root, 'packages', name);
  const source = join(directory, 'src');
  const output = join(directory, 'dist');
  rmSync(output, { recursive: true, force: true });
  if (!(await compile(root, join(directory, 'tsconfig.build.json')))) return false;
  if (name === COMMAND_LINE) {
    await bundleCommandLine(root);
  } else {
    for (const file of filesBelow(source).filter((path) => !path.endsWith('.ts'))) {
      cpSync(join(source, file), join(output, file));
    }
  }
  const stale = filesBelow(output).filter(
    (file) => file.endsWith('.js') && SOURCE_PATH.test(readFileSync(join(output, file), 'utf8')),
  );
  for (const file of stale) {
    process.stderr.write(`build: dist/${file} of ${name} names a TypeScript source that is not there.\n`);
  }
  return stale.length === 0;
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true, encoding: 'utf8' })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}

function compile(root: string, project: string): Promise<boolean> {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const child = spawn(process.execPath, [compiler, '-p', project], { stdio: 'inherit' });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (code) => resolve(code === 0));
  });
}

/**
 * Compiles every package of the checkout at `root`, so that `npm pack` gives what installs elsewhere.
 *
 * @returns Whether all of them compiled; the compiler has said why not.
 */
export async function buildPackages(root: string): Promise<boolean> {
  for (const name of PACKAGES) {
    if (!(await buildPackage(root, name))) return false;
  }
  return true;
}
