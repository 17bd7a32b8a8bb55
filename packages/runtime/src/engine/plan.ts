import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { ResolvePin } from '../secrets/secret-spec.ts';

/** A mount of a host path. */
export interface PlannedMount {
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
}

/** Everything that one `run` needs to know, checked and canonical; made by the command line, later by the API as well. */
export interface RunPlan {
  readonly name: string;
  readonly command: readonly string[];
  readonly secrets: readonly BoundSecret[];
  readonly network: {
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly tunnel: readonly string[];
    readonly pins: readonly ResolvePin[];
    readonly upstreamCaFiles: readonly string[];
  };
  /** Plain environment of the sandbox, without placeholders and CA variables. */
  readonly environment: ReadonlyMap<string, string>;
  /** The directory that is mounted read-write at its own path; null for none. */
  readonly workspace: string | null;
  readonly forceWorkspace: boolean;
  readonly gitWritable: boolean;
  /** Mounts as written on the command line: `SRC:DST[:ro]`. */
  readonly volumes: readonly string[];
  readonly workdir: string | null;
  readonly limits: {
    readonly memoryBytes: number | null;
    readonly cpus: number | null;
    readonly pids: number | null;
  };
  readonly timeoutMs: number | null;
  /** The OCI runtime asked for: a name or a path; null for the default. */
  readonly runtime: string | null;
  readonly auditFile: string | null;
  readonly stateDirectory: string;
  readonly timings: boolean;
}
