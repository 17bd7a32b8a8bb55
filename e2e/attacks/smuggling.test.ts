import { ATTACKS } from '../../packages/gauntlet/src/index.ts';
import { createFamily } from './attack.ts';
import { SMUGGLING_ATTEMPTS } from './attempts.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { addAttempts } from './jobs.ts';

const family = createFamily(
  'smuggling',
  'Where a request and an answer end, in HTTP/1, in HTTP/2 and between them; splitting; caches that mix answers up.',
);

/** What HTTP/2 says of authorities is the family "authority", of values that come back "reflection". */
const HTTP2 = ATTACKS.filter(
  ({ id, category }) =>
    category === 'http2' && !/-(authority-other|authority-bound|host-other|two-authorities|scheme|reflect)$/.test(id),
).map(({ id }) => id);
const BETWEEN_REQUESTS = [
  'request-splitting',
  'response-splitting',
  'response-queue',
  'cache-credential',
  'cache-host',
];

addGauntletAttacks(family, ['smuggling', ...HTTP2, ...BETWEEN_REQUESTS], 'one');
addAttempts(family, 'what has two readings is refused, and nothing behind it arrives', SMUGGLING_ATTEMPTS, {
  leaks: 'the value, in a request that the gate did not see; answers swapped between requests',
  callers: 'one',
});
