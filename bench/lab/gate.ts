import type { Agent } from './agent.ts';
import type { Lab, Service } from './lab.ts';

/** A gate that runs, with a place to run its clients in. */
export interface RunningGate {
  /** Scheme, name and port of a service as this gate's clients write them; undefined where the gate does not offer it. */
  origin(service: Service): string | undefined;
  /** What goes before a client's command: variables for the shell. Default nothing. */
  readonly prefix?: string;
  /** Runs clients where this gate's clients run. */
  readonly client: Agent;
  /** The processes whose time and memory are the gate's. */
  processes(): readonly number[];
  /** Ends it before the lab does. Safe to call twice. */
  close(): Promise<void>;
}

/** What a sandbox is set up with beyond the one bound secret that clients use. */
export interface VariantOptions {
  /** How many secrets are bound to the API's host, all in all. Default 1. */
  readonly secrets?: number;
  /** How many further hosts are allowed. Default 0. */
  readonly rules?: number;
  /** Whether a secret for bodies is bound to the host of uploads. Default no. */
  readonly bodies?: boolean;
}

/** Something between client and upstream. */
export interface GateKind {
  /** As tables write it. */
  readonly name: string;
  /** Why it cannot be measured here; undefined where it can. */
  missing(): string | undefined;
  version(): string;
  /** The program that starts a sandbox. Only of our own gates. */
  readonly launcher?: string;
  /** The same gate, set up with something more. Only of our own gates. */
  readonly variant?: (name: string, options: VariantOptions) => GateKind;
  /** Starts it; it ends with the lab. */
  open(lab: Lab): Promise<RunningGate>;
}
