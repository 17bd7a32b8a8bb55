import { z } from 'zod';
import { count, identifier, moment, sandboxName } from './fields.ts';

export const daemonStatusSchema = z
  .strictObject({
    version: z.string(),
    api: z.literal('v1'),
    pid: z.int().positive(),
    startedAt: moment,
    sandboxes: count,
    runningSandboxes: count,
    runningExecs: count,
    /** Airlocks that are prepared for sandboxes to come. */
    warmAirlocks: count,
    memoryBytes: count,
    stateDirectory: z.string(),
    logFile: z.string(),
  })
  .meta({ id: 'DaemonStatus' });

export const daemonStopSchema = z
  .strictObject({
    /** Stop the sandboxes as well. Default false: they go on, with their gates closed until a daemon is there again. */
    sandboxes: z.boolean().optional(),
  })
  .meta({ id: 'DaemonStop' });

export const EVENT_TYPES = [
  'sandbox.created', 'sandbox.starting', 'sandbox.running', 'sandbox.stopping', 'sandbox.stopped', 'sandbox.failed', 'sandbox.removed',
  'sandbox.recovered', 'exec.started', 'exec.exited', 'secret.set', 'secret.removed', 'policy.changed',
] as const; // prettier-ignore

/** What the daemon did. Never a secret value; `detail` is for people. */
export const eventSchema = z
  .strictObject({
    id: count,
    time: moment,
    type: z.enum(EVENT_TYPES),
    sandbox: sandboxName,
    sandboxId: identifier,
    exec: identifier.nullable(),
    detail: z.string().nullable(),
  })
  .meta({ id: 'Event' });

/** One piece of what commands of a sandbox wrote; `data` is base64. */
export const logEntrySchema = z
  .strictObject({
    exec: identifier,
    stream: z.enum(['stdout', 'stderr']),
    time: moment,
    data: z.base64(),
  })
  .meta({ id: 'LogEntry' });

export type DaemonStatus = z.infer<typeof daemonStatusSchema>;
export type DaemonStop = z.input<typeof daemonStopSchema>;
export type DaemonEvent = z.infer<typeof eventSchema>;
export type LogEntry = z.infer<typeof logEntrySchema>;
