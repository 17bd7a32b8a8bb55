import { z } from 'zod';
import {
  count,
  environment,
  identifier,
  insidePath,
  milliseconds,
  moment,
  sandboxName,
  signalName,
  text,
} from './fields.ts';
import { problemSchema } from './problem.ts';

const terminalSize = {
  columns: z.int().min(1).max(10_000),
  rows: z.int().min(1).max(10_000),
};

export const resizeSchema = z.strictObject(terminalSize).meta({ id: 'TerminalSize' });

/** A command to run in a sandbox. It goes on when its caller vanishes; who wants it to end signals it. */
export const execCreateSchema = z
  .strictObject({
    /** The command and its arguments; the first is looked up in the sandbox's PATH. */
    command: z.array(text).min(1).max(65_536),
    /** On top of the sandbox's own variables. */
    env: environment.optional(),
    workdir: insidePath.optional(),
    /** The sandbox's own user, by name or number, with or without its group: `USER[:GROUP]`. There is no other. Default: that user. */
    user: z.string().min(1).max(64).optional(),
    /** Keep standard input open for the `stdin` endpoint. Default false: it is empty. */
    stdin: z.boolean().optional(),
    /** Give the command a terminal of this size. Standard error then comes out as standard output. */
    terminal: resizeSchema.optional(),
    /** After this time: SIGTERM, and SIGKILL 10 s later. Default: never. */
    timeoutMs: milliseconds.optional(),
  })
  .meta({ id: 'ExecCreate' });

export const EXEC_STATES = ['starting', 'running', 'exited', 'failed'] as const;

export const execSchema = z
  .strictObject({
    id: identifier,
    sandbox: sandboxName,
    state: z.enum(EXEC_STATES),
    command: z.array(z.string()),
    terminal: z.boolean(),
    createdAt: moment,
    endedAt: moment.nullable(),
    /** As a shell gives it: the command's own, 126 or 127 when it could not be started, 128+n for signal n. Null while it runs. */
    exitCode: count.nullable(),
    /** Whether its time limit ended it. */
    timedOut: z.boolean(),
    /** Why it could not be started; null otherwise. */
    reason: z.string().nullable(),
  })
  .meta({ id: 'Exec' });

export const execListSchema = z.strictObject({ execs: z.array(execSchema) }).meta({ id: 'ExecList' });

export const signalSchema = z.strictObject({ signal: signalName }).meta({ id: 'Signal' });

/**
 * What comes on an exec's event stream: as SSE, `event:` is the type, `data:` the whole as JSON; output events have an `id:` from which
 * the stream can be taken up again (`Last-Event-ID` or `?after=`). The last event is `exit` or `error`.
 */
export const execEventSchema = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('started'), exec: execSchema }),
    /** `data` is base64. */
    z.strictObject({ type: z.literal('stdout'), data: z.base64(), time: moment }),
    z.strictObject({ type: z.literal('stderr'), data: z.base64(), time: moment }),
    /** Output that is no longer kept is missing here. */
    z.strictObject({ type: z.literal('gap') }),
    z.strictObject({ type: z.literal('exit'), exitCode: count, timedOut: z.boolean(), outOfMemory: z.boolean() }),
    z.strictObject({ type: z.literal('error'), problem: problemSchema }),
  ])
  .meta({ id: 'ExecEvent' });

export type ExecCreate = z.input<typeof execCreateSchema>;
export type ExecInfo = z.infer<typeof execSchema>;
export type ExecEvent = z.infer<typeof execEventSchema>;
export type TerminalSize = z.input<typeof resizeSchema>;
export type SignalName = z.infer<typeof signalName>;
