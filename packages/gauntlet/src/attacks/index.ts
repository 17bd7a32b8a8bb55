import type { Attack } from '../attack.ts';
import { AUTHORITY_ATTACKS } from './authority.ts';
import { CONTROLS } from './controls.ts';
import { EXHAUSTION_ATTACKS } from './exhaustion.ts';
import { HOST_NAME_ATTACKS } from './host-names.ts';
import { HTTP2_ATTACKS } from './http2.ts';
import { PLACEMENT_ATTACKS } from './placement.ts';
import { PROTOCOL_ATTACKS } from './protocol.ts';
import { REFLECTION_ATTACKS } from './reflection.ts';
import { SANDBOX_ATTACKS } from './sandbox.ts';
import { SMUGGLING_ATTACKS } from './smuggling.ts';

/** Every attack, in the order of a run: the controls first. */
export const ATTACKS: readonly Attack[] = [
  ...CONTROLS,
  ...AUTHORITY_ATTACKS,
  ...HOST_NAME_ATTACKS,
  ...SMUGGLING_ATTACKS,
  ...HTTP2_ATTACKS,
  ...REFLECTION_ATTACKS,
  ...PROTOCOL_ATTACKS,
  ...PLACEMENT_ATTACKS,
  ...SANDBOX_ATTACKS,
  ...EXHAUSTION_ATTACKS,
];
