import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

import type { CaseData } from './shrink.ts';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures');

/** A case that once failed, made small. Its name begins with the target's. */
export interface Fixture {
  readonly name: string;
  readonly problem: string;
  readonly case: CaseData;
}

/** The targets that have fixtures. */
export function targetsWithFixtures(): string[] {
  return readdirSync(FIXTURES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

/** The fixtures of one target, by name. */
export function readFixtures(target: string): Fixture[] {
  return readdirSync(join(FIXTURES, target))
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => {
      const fixture = JSON.parse(readFileSync(join(FIXTURES, target, file), 'utf8')) as Omit<Fixture, 'name'>;
      return { ...fixture, name: `${target}/${file}` };
    });
}

/** Keeps a failing case; returns the file's path for people. The same case is kept once. */
export function writeFixture(target: string, problem: string, failing: CaseData, directory = FIXTURES): string {
  const text = JSON.stringify(failing);
  const file = join(directory, target, `${createHash('sha256').update(text).digest('hex').slice(0, 12)}.json`);
  mkdirSync(join(directory, target), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ problem, case: failing }, null, 2)}\n`);
  return relative(process.cwd(), file);
}
