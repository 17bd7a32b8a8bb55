import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Scene } from '../harness/caller.ts';
import { describeRun } from '../harness/sallyport.ts';
import type { SallyportResult } from '../harness/sallyport.ts';

/** The hostile programs that run inside. */
export const PROGRAMS: string = fileURLToPath(new URL('programs', import.meta.url));

/** The report of a hostile program: what came of each attempt, by its name. */
export type Report = Record<string, unknown>;

/** Lays the hostile programs out for a scene's sandbox, with a JSON file for them; they are seen below `/assets`. */
export function equip(scene: Scene, files: Readonly<Record<string, unknown>>): string[] {
  cpSync(PROGRAMS, scene.assets, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(scene.assets, name), JSON.stringify(content));
  return ['-v', `${scene.assets}:/assets:ro`];
}

/** What a program that ended well reports. */
export function readReport(result: SallyportResult): Report {
  assert.equal(result.status, 0, describeRun(result));
  return JSON.parse(result.stdout) as Report;
}

/** Fails for attempts whose outcome is not as it has to be, and where nothing has such a name. */
export function assertOutcomes(report: Report, names: RegExp, outcome: RegExp): void {
  const tried = Object.entries(report).filter(([name]) => names.test(name));
  assert.notDeepEqual(tried, [], `nothing matches ${String(names)}`);
  const wrong = tried.filter(([, said]) => !outcome.test(String(said)));
  assert.deepEqual(
    wrong.map(([name, said]) => `${name}: ${String(said).slice(0, 200)}`),
    [],
  );
}
