import type { Agent } from './agent.ts';
import type { Lab, Service } from './lab.ts';

/** A gate that runs, with a place to run its clients in. */
export interface RunningGate {
  /** Scheme, name and port of a service as this gate's clients write them; undefined where the gate does not offer it. */
  origin(service: Service): string | undefined;
  /** Runs clients where this gate's clients run. */
  readonly client: Agent;
  /** The processes whose time and memory are the gate's. */
  processes(): readonly number[];
}

/** Something between client and upstream. */
export interface GateKind {
  /** As tables write it. */
  readonly name: string;
  /** Why it cannot be measured here; undefined where it can. */
  missing(): string | undefined;
  version(): string;
  /** Starts it; it ends with the lab. */
  open(lab: Lab): Promise<RunningGate>;
}
