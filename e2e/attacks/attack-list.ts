import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../harness/caller.ts';

/** The attacks of one family, by name, with what each would leak. */
export interface ListedFamily {
  readonly name: string;
  readonly about: string;
  readonly attacks: ReadonlyMap<string, string>;
}

const FILE = join(CHECKOUT, 'docs', 'attacks.md');
/** Set to `1`: docs/attacks.md is written from the attacks that ran, instead of being held against them. */
const WRITE = 'SALLYPORT_ATTACKS_WRITE';

const INTRODUCTION = `# Attacks

What is tried against Sallyport in every \`npm test\`, each attack a test in [\`e2e/attacks/\`](../e2e/attacks/), with what would leak if it
succeeded. Each family is one file. The tests hold this list to what they ran; \`${WRITE}=1\` in their environment writes it.
`;

const LEAKS = 'Would leak ';

/** Every family in docs/attacks.md, by its name. */
export function readAttackList(): Map<string, ListedFamily> {
  const families = new Map<string, ListedFamily>();
  const sections = existsSync(FILE) ? readFileSync(FILE, 'utf8').split('\n## ').slice(1) : [];
  for (const section of sections) {
    const [name = '', , about = '', ...lines] = section.split('\n');
    const attacks = new Map<string, string>();
    let leaks = '';
    for (const line of lines) {
      if (line.startsWith(LEAKS)) leaks = line.slice(LEAKS.length, -1);
      if (line.startsWith('- ')) attacks.set(line.slice(2), leaks);
    }
    families.set(name, { name, about, attacks });
  }
  return families;
}

function formatFamily({ name, about, attacks }: ListedFamily): string {
  const groups = Map.groupBy(attacks, ([, leaks]) => leaks);
  const lists = [...groups].map(
    ([leaks, group]) => `${LEAKS}${leaks}:\n\n${group.map(([one]) => `- ${one}\n`).join('')}`,
  );
  return `## ${name}\n\n${about}\n\n${lists.join('\n')}`;
}

/** Holds a family that ran against docs/attacks.md; `isWhole`: every one of its attacks ran. */
export function checkFamily(family: ListedFamily, isWhole: boolean): void {
  const listed = readAttackList();
  if (process.env[WRITE] === '1' && isWhole) {
    listed.set(family.name, family);
    const sections = [...listed.values()]
      .toSorted((one, other) => one.name.localeCompare(other.name))
      .map(formatFamily);
    writeFileSync(FILE, [INTRODUCTION, ...sections].join('\n'));
    return;
  }
  const { attacks, about } = listed.get(family.name) ?? assert.fail(`docs/attacks.md has no "${family.name}"`);
  const lines = (one: ReadonlyMap<string, string>): string[] => [...one].map(([name, leaks]) => `${name}: ${leaks}`);
  const [ran, known] = [lines(family.attacks), lines(attacks)];
  assert.deepEqual(
    ran.filter((one) => !known.includes(one)),
    [],
    `not in docs/attacks.md; ${WRITE}=1 writes it`,
  );
  if (!isWhole) return;
  assert.equal(about, family.about);
  assert.deepEqual(
    known.filter((one) => !ran.includes(one)),
    [],
    'in docs/attacks.md, but did not run',
  );
}
