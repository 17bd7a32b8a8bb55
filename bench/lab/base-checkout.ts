import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Our own packages: their links point into the checkout that they belong to, never into the other one. */
const OWN_LINKS: Readonly<Record<string, string>> = {
  sallyport: 'packages/runtime',
  '@sallyport/sdk': 'packages/sdk',
  '@sallyport/gauntlet': 'packages/gauntlet',
};
const OWN_ENTRIES = new Set(['sallyport', '@sallyport', '.sallyport', '.cache']);
/** Where `./sallyport` looks whether the checkout is set up. */
const STAMPS = ['modules', 'tools'];

/** A revision, checked out beside this checkout. */
export interface BaseCheckout {
  readonly directory: string;
  /** The revision's full name. */
  readonly revision: string;
  /** Whether it wants other dependencies than those it runs with here. */
  readonly hasOtherDependencies: boolean;
  remove(): void;
}

/**
 * Checks a revision out into a directory of its own, with the node modules of this checkout but its own packages.
 *
 * @throws Error where git does not know the revision.
 */
export function checkOutBase(checkout: string, revision: string): BaseCheckout {
  const git = (...args: readonly string[]): string =>
    execFileSync('git', ['-C', checkout, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] }).trim();
  const commit = git('rev-parse', '--verify', '--end-of-options', `${revision}^{commit}`);
  const parent = mkdtempSync('/var/tmp/sallyport-base-');
  const directory = join(parent, 'checkout');
  git('worktree', 'add', '--quiet', '--detach', directory, commit);
  linkModules(checkout, directory);
  const lockOf = (root: string): string => readFileSync(join(root, 'package-lock.json'), 'utf8');
  return {
    directory,
    revision: commit,
    hasOtherDependencies: lockOf(directory) !== lockOf(checkout),
    remove() {
      git('worktree', 'remove', '--force', directory);
      rmSync(parent, { recursive: true, force: true });
    },
  };
}

function linkModules(checkout: string, directory: string): void {
  const [from, to] = [join(checkout, 'node_modules'), join(directory, 'node_modules')];
  mkdirSync(to);
  for (const name of readdirSync(from).filter((entry) => !OWN_ENTRIES.has(entry))) {
    symlinkSync(join(from, name), join(to, name));
  }
  mkdirSync(join(to, '@sallyport'));
  for (const [name, path] of Object.entries(OWN_LINKS)) symlinkSync(join(directory, path), join(to, name));
  mkdirSync(join(to, '.sallyport'));
  for (const stamp of STAMPS) writeFileSync(join(to, '.sallyport', stamp), '');
}
