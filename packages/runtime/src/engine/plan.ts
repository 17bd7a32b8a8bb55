import type { ResolvePin } from '../policy/resolve-pin.ts';
import type { Limits } from '../sandbox/limits.ts';
import type { ClientCertificateSpec } from '../tls/client-certificate-spec.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { NamedSecret } from './effective-secrets.ts';

/** Everything that one `run` needs to know, checked and canonical; made by the command line, later by the API as well. */
export interface RunPlan {
  readonly name: string;
  readonly command: readonly string[];
  /** Its own secrets. */
  readonly secrets: SecretSet;
  /** Stored secrets that are asked for by name. */
  readonly named: readonly NamedSecret[];
  /** Services that are wanted: stored ones, else from the caller's environment. */
  readonly services: readonly string[];
  readonly network: {
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly tunnel: readonly string[];
    readonly pins: readonly ResolvePin[];
    readonly upstreamCaFiles: readonly string[];
    /** Where client certificates for upstreams lie; the files are read by whoever runs the plan. */
    readonly clientCertificates: readonly ClientCertificateSpec[];
  };
  /** Where relative paths of the plan start. */
  readonly directory: string;
  readonly startedAt: Date;
  /** Plain environment of the sandbox, without placeholders and CA variables. */
  readonly environment: ReadonlyMap<string, string>;
  /** The directory that is mounted read-write at its own path; null for none. */
  readonly workspace: string | null;
  readonly forceWorkspace: boolean;
  readonly gitWritable: boolean;
  /** Mounts as written on the command line: `SRC:DST[:ro]`. */
  readonly volumes: readonly string[];
  readonly workdir: string | null;
  readonly limits: Limits;
  readonly timeoutMs: number | null;
  /** The OCI runtime asked for: a name or a path; null for the default. */
  readonly runtime: string | null;
  readonly auditFile: string | null;
  readonly stateDirectory: string;
  readonly timings: boolean;
}
