import { z } from 'zod';
import { count, environment, hostPath, identifier, insidePath, milliseconds, moment, sandboxName } from './fields.ts';
import { networkSchema } from './policy.ts';
import { secretSpecSchema } from './secrets.ts';

/**
 * - `created`: known, never started, or prepared;
 * - `starting`, `stopping`, `removing`: on the way;
 * - `running`: commands can be executed;
 * - `stopped`: can be started again, with an empty file system;
 * - `failed`: could not be started, or ended by itself; `reason` says why. Can be started again.
 */
export const SANDBOX_STATES = ['created', 'starting', 'running', 'stopping', 'stopped', 'failed', 'removing'] as const;

/** What a sandbox may use at most. */
export const limitsSchema = z
  .strictObject({
    memoryBytes: z
      .int()
      .min(16 * 1024 * 1024)
      .optional(),
    /** Processors' worth of time: 1.5 is one and a half. */
    cpus: z.number().min(0.01).max(10_000).optional(),
    /** Processes and threads. Default 4096. */
    pids: z.int().min(16).max(4_194_304).optional(),
  })
  .meta({ id: 'Limits' });

export const volumeSchema = z
  .strictObject({ source: hostPath, destination: insidePath, readOnly: z.boolean().optional() })
  .meta({ id: 'Volume' });

/** A sandbox to make. Everything may be left out. */
export const sandboxCreateSchema = z
  .strictObject({
    /** Default: a generated one. */
    name: sandboxName.optional(),
    /** `host`, the default: the programs of the daemon's machine, read-only. Others are not supported yet. */
    image: z.string().min(1).max(512).optional(),
    /** Variables of every command. */
    env: environment.optional(),
    secrets: z.array(secretSpecSchema).max(4096).optional(),
    network: networkSchema.optional(),
    /** A directory of the host that is mounted read-write at its own path. Default: none. */
    workspace: hostPath.optional(),
    /** Mount a home directory as workspace all the same. */
    forceWorkspace: z.boolean().optional(),
    /** Leave `.git/hooks` and `.git/config` of the workspace writable. */
    gitWritable: z.boolean().optional(),
    volumes: z.array(volumeSchema).max(256).optional(),
    /** Where commands start. Default: the workspace, else the home directory. */
    workdir: insidePath.optional(),
    limits: limitsSchema.optional(),
    /** `runc`, the default, or another OCI runtime: a name or an absolute path. */
    runtime: z.string().min(1).max(4096).optional(),
    /** A file for audit events instead of one below the state directory. */
    auditFile: hostPath.optional(),
    labels: z.record(z.string().min(1).max(128), z.string().max(1024)).optional(),
    /** Start it at once. Default true. */
    start: z.boolean().optional(),
    /** Remove it as soon as it has stopped. Default false. */
    autoRemove: z.boolean().optional(),
    /** Stop it this long after its start. Default: never. */
    lifetimeMs: milliseconds.optional(),
  })
  .meta({ id: 'SandboxCreate' });

export const sandboxSchema = z
  .strictObject({
    id: identifier,
    name: sandboxName,
    state: z.enum(SANDBOX_STATES),
    /** Why it failed or ended; null otherwise. */
    reason: z.string().nullable(),
    image: z.string(),
    runtime: z.string(),
    createdAt: moment,
    startedAt: moment.nullable(),
    stoppedAt: moment.nullable(),
    env: z.record(z.string(), z.string()),
    secrets: z.array(z.string()),
    workspace: z.string().nullable(),
    volumes: z.array(z.strictObject({ source: z.string(), destination: z.string(), readOnly: z.boolean() })),
    workdir: z.string().nullable(),
    limits: z.strictObject({ memoryBytes: count.nullable(), cpus: z.number().nullable(), pids: count }),
    labels: z.record(z.string(), z.string()),
    autoRemove: z.boolean(),
    lifetimeMs: z.int().nullable(),
    auditFile: z.string(),
    /** What could not be done as asked, and rules that reach further than they look; for people. */
    notices: z.array(z.string()),
    /** Commands that run at this moment. */
    runningExecs: count,
    /** `closed` when the gate lets nothing through: the sandbox does not run, or values of its secrets were lost. */
    gate: z.enum(['open', 'closed']),
  })
  .meta({ id: 'Sandbox' });

export const sandboxListSchema = z.strictObject({ sandboxes: z.array(sandboxSchema) }).meta({ id: 'SandboxList' });

export const sandboxStopSchema = z
  .strictObject({
    /** How long commands have after SIGTERM, before SIGKILL. Default 10 s; 0: none. */
    timeoutMs: z.int().min(0).max(2_147_483_647).optional(),
  })
  .meta({ id: 'SandboxStop' });

/** What a running sandbox uses. Null: this machine does not tell. */
export const statsSchema = z
  .strictObject({
    time: moment,
    memoryBytes: count.nullable(),
    memoryLimitBytes: count.nullable(),
    cpuMs: count.nullable(),
    processes: count.nullable(),
    /** Open through the gate at this moment. */
    connections: count,
    names: count,
  })
  .meta({ id: 'Stats' });

export type SandboxState = (typeof SANDBOX_STATES)[number];
export type SandboxCreate = z.input<typeof sandboxCreateSchema>;
export type SandboxInfo = z.infer<typeof sandboxSchema>;
export type SandboxStop = z.input<typeof sandboxStopSchema>;
export type SandboxStats = z.infer<typeof statsSchema>;
export type Limits = z.input<typeof limitsSchema>;
export type Volume = z.input<typeof volumeSchema>;
