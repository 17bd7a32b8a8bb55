import { createFamily } from './attack.ts';
import { NAME_ATTEMPTS } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { addAttempts } from './jobs.ts';

const family = createFamily(
  'host-differentials',
  'Names that one reader takes for the bound host and another does not: NUL, dots, Unicode, punycode, spellings of addresses.',
);

addGauntletAttacks(family, ['host-names'], 'one');
addAttempts(family, 'no other spelling of a name is taken for the bound host', NAME_ATTEMPTS, {
  leaks: 'the value, to a host that some reader of the name takes for the bound one',
  callers: 'one',
});
