import type { Limits } from './limits.ts';
import type { ContainerTools } from './oci-config.ts';

/** A container in which commands can be executed, for whoever executes them: this process or one that comes after it. Plain JSON. */
export interface ContainerRecord {
  /** Path of the OCI runtime. */
  readonly runtime: string;
  /** Its arguments before the command (`exec`). */
  readonly runtimeArguments: readonly string[];
  readonly container: string;
  /** What every command's environment begins with. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where commands start. */
  readonly workingDirectory: string;
  readonly limits: Limits;
  readonly cgroupProcs: readonly string[];
  readonly tools: ContainerTools;
}
