import { SandboxOpening } from '../sandbox/sandbox-opening.ts';
import type { Milestones } from './milestones.ts';

/** What a run has begun before its command line was even read. */
export interface HeadStart {
  readonly opening: SandboxOpening;
  readonly milestones: Milestones;
}

/**
 * Begins what takes longest and depends on no option, the airlock, so that the rest of the program loads meanwhile. This module has as little behind it as can be.
 */
export function takeHeadStart(milestones: Milestones): HeadStart {
  milestones.mark('first modules loaded');
  const opening = new SandboxOpening();
  milestones.mark('first processes started');
  return { opening, milestones };
}
