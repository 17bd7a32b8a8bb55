import { SallyportError, type SandboxState } from '@sallyport/sdk';

/** What can be asked of a sandbox, or happen to it. */
export type LifecycleEvent =
  | 'start'
  | 'started'
  | 'start failed'
  | 'stop'
  | 'stopped'
  /** Its processes ended, and nobody had asked for that. */
  | 'ended'
  | 'remove'
  | 'force remove';

/**
 * Where each event leads. What is not here is refused. What happens in the background (`started`, `stopped`, …) is not the caller's to ask for.
 *
 * ```
 * created ─start→ starting ─started→ running ─stop→ stopping ─stopped→ stopped ─start→ starting …
 *                    └─start failed→ failed ←─ended─┘                     └─remove→ removing
 * ```
 */
const TRANSITIONS: Readonly<Record<SandboxState, Partial<Record<LifecycleEvent, SandboxState>>>> = {
  created: { start: 'starting', stop: 'created', remove: 'removing', 'force remove': 'removing' },
  starting: { started: 'running', 'start failed': 'failed' },
  running: { start: 'running', stop: 'stopping', ended: 'failed', 'force remove': 'removing' },
  stopping: { stopped: 'stopped', ended: 'stopped' },
  stopped: { start: 'starting', stop: 'stopped', remove: 'removing', 'force remove': 'removing' },
  failed: { start: 'starting', stop: 'failed', remove: 'removing', 'force remove': 'removing' },
  removing: { ended: 'removing', stopped: 'removing' },
};

/**
 * The state that an event leads to.
 *
 * @throws SallyportError SANDBOX_RUNNING for the removal of one that runs, SANDBOX_BUSY while it is on the way to another state.
 */
export function nextState(name: string, state: SandboxState, event: LifecycleEvent): SandboxState {
  const next = TRANSITIONS[state][event];
  if (next !== undefined) return next;
  if (state === 'running' && event === 'remove') {
    throw new SallyportError(
      'SANDBOX_RUNNING',
      `The sandbox ${JSON.stringify(name)} runs. Stop it first, or remove it with force.`,
    );
  }
  throw new SallyportError(
    'SANDBOX_BUSY',
    `The sandbox ${JSON.stringify(name)} is ${state}; it cannot ${event} at this moment. Try again when that is over.`,
  );
}

/**
 * What a sandbox is found to be when the daemon starts: what was on its way did not get there.
 *
 * @param isAlive whether its processes still run.
 */
export function recoveredState(state: SandboxState, isAlive: boolean): SandboxState {
  switch (state) {
    case 'running':
      return isAlive ? 'running' : 'failed';
    case 'starting':
      return 'failed';
    case 'stopping':
      return 'stopped';
    case 'created':
    case 'stopped':
    case 'failed':
    case 'removing':
      return state;
    default:
      throw new TypeError(`unknown state ${String(state satisfies never)}`);
  }
}
