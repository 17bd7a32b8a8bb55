import { randomBytes } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import { beginAirlock } from '../airlock/airlock.ts';
import type { AirlockOpening, AirlockOptions } from '../airlock/airlock.ts';
import { planCgroups } from './cgroup.ts';
import type { CgroupPlan } from './cgroup.ts';

let openings = 0;

/**
 * A sandbox's airlock being opened before anything is known of the sandbox: all airlocks are alike but for their ports. It has a module
 * of its own with little behind it, so that a command can begin here and load the rest meanwhile.
 */
export class SandboxOpening {
  readonly airlock: AirlockOpening;
  /** The control groups that the sandbox will have; their names are the airlock's to clean up. */
  readonly cgroups: CgroupPlan;
  readonly #ports = Promise.withResolvers<readonly number[]>();

  /** @param lasting as `AirlockOptions.lasting`: for an airlock that outlives this process. */
  constructor(lasting?: AirlockOptions['lasting']) {
    openings += 1;
    // Whoever waits for the airlock is told.
    this.#ports.promise.catch(() => undefined);
    // A lasting one may outlive its process, and another process may get that number.
    const unique = lasting === undefined ? '' : `-${randomBytes(4).toString('hex')}`;
    this.cgroups = planCgroups(`sallyport-${process.pid}-${openings}${unique}`);
    this.airlock = beginAirlock({
      ports: this.#ports.promise,
      cgroupDirectories: this.cgroups.directories,
      ...(lasting === undefined ? {} : { lasting }),
    });
  }

  /** Says which TCP ports the policy can use; the airlock is not complete before. */
  usePorts(ports: readonly number[]): void {
    this.#ports.resolve(ports);
  }

  /** Ends the airlock, whether it is complete or not, and waits until nothing is left. */
  async close(): Promise<void> {
    this.#ports.reject(new SallyportError('AIRLOCK_FAILED', 'The sandbox was given up before it started.'));
    await this.airlock.opened.then(
      async (airlock) => await airlock.close(),
      () => undefined,
    );
  }
}
