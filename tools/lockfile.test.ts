import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LockedPackages } from './lockfile.ts';
import { missingEntries } from './lockfile.ts';

const ROOT = join(import.meta.dirname, '..');

type Packages = LockedPackages & Readonly<Record<string, { readonly resolved?: string }>>;

test('missingEntries() finds nothing in the lock file of this checkout', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Packages };
  assert.ok(Object.keys(lock.packages).length > 50);
  assert.deepEqual(missingEntries(lock.packages), {}, 'run: node tools/lockfile.ts --fix');
  const remote = Object.values(lock.packages).filter(({ resolved }) => resolved?.includes('://'));
  assert.deepEqual(remote, [], 'the registry is a setting of the machine, not of the lock file');
});

test('missingEntries() limits what it adds to its platform', () => {
  const packages = {
    '': { optionalDependencies: { '@a/linux-arm64-musl': '2.0.0' } },
    'node_modules/b': {
      dev: true,
      optionalDependencies: { 'b-win32-x64': '1.0.0', 'b-linux-x64': '1.0.0', c: '1.0.0' },
    },
    'node_modules/b-linux-x64': { version: '1.0.0' },
    'node_modules/b/node_modules/c': { version: '1.0.0' },
  };
  assert.deepEqual(missingEntries(packages), {
    'node_modules/@a/linux-arm64-musl': {
      version: '2.0.0',
      cpu: ['arm64'],
      libc: ['musl'],
      optional: true,
      os: ['linux'],
    },
    'node_modules/b-win32-x64': { version: '1.0.0', cpu: ['x64'], dev: true, optional: true, os: ['win32'] },
  });
});
