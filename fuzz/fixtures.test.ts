import assert from 'node:assert/strict';
import { test } from 'node:test';

import { judge, type FuzzTarget } from './campaign/campaign.ts';
import { readFixtures, targetsWithFixtures } from './campaign/fixtures.ts';

for (const name of targetsWithFixtures()) {
  test(`the ${name} target finds nothing in the cases that once failed`, async () => {
    const { openTarget } = (await import(`./${name}.ts`)) as { openTarget: () => FuzzTarget | Promise<FuzzTarget> };
    const target = await openTarget();
    try {
      for (const fixture of readFixtures(name)) {
        assert.equal(await judge(target, fixture.case), null, `${fixture.name} (${fixture.problem})`);
      }
    } finally {
      await target.close?.();
    }
  });
}
