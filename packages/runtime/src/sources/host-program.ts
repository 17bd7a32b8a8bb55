import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { MAX_VALUE_BYTES } from './fetched-value.ts';
import { endFamily, endGroup } from './process-family.ts';

/** A value, and the line break behind it. */
const MAX_OUTPUT_BYTES = MAX_VALUE_BYTES + 2;
/** How much of the end of the standard error is kept. */
const MAX_ERROR_BYTES = 4096;
/** How long output is still waited for when a program has ended and something that it left behind holds its output open. */
const DRAIN_MS = 200;

/** What came of a program. `output` is the caller's to wipe. */
export type ProgramOutcome =
  | { readonly kind: 'exited'; readonly status: number; readonly output: Uint8Array; readonly errorText: string }
  | { readonly kind: 'signaled'; readonly signal: string; readonly errorText: string }
  | { readonly kind: 'too-long' }
  | { readonly kind: 'too-late'; readonly errorText: string }
  | { readonly kind: 'called-off' }
  | { readonly kind: 'not-started'; readonly code: string };

export interface ProgramOptions {
  readonly environment: NodeJS.ProcessEnv;
  /** Where it runs. */
  readonly directory: string;
  readonly timeLimitMs: number;
  /** Keeps the end of the standard error, which otherwise goes nowhere. */
  readonly keepError: boolean;
  readonly signal: AbortSignal;
}

/** The environment for a program of the host: all but what is Sallyport's own. */
export function hostEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('SALLYPORT_')));
}

/**
 * Runs a program of the host and takes what it prints: without input, in a session of its own, with limits of time and length. However it ends,
 * nothing of its process group outlives it; one that is ended takes all its descendants along.
 */
export async function runHostProgram(
  file: string,
  words: readonly string[],
  { environment, directory, timeLimitMs, keepError, signal }: ProgramOptions,
): Promise<ProgramOutcome> {
  if (signal.aborted) return { kind: 'called-off' };
  let child: ChildProcess;
  try {
    child = spawn(file, words, {
      cwd: directory,
      env: hostEnvironment(environment),
      stdio: ['ignore', 'pipe', keepError ? 'pipe' : 'ignore'],
      detached: true,
    });
  } catch (error) {
    // Some failures are thrown, and their messages quote the words.
    return { kind: 'not-started', code: (error as NodeJS.ErrnoException).code ?? 'unknown' };
  }
  return await new Promise((resolve) => {
    const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
    const chunks: Buffer[] = [];
    let outputBytes = 0;
    let errorTail: Buffer = Buffer.alloc(0);
    let forced: ProgramOutcome | undefined;
    let drainTimer: NodeJS.Timeout | undefined;

    const errorText = (): string => printable(errorTail.toString('utf8'));
    const settle = (outcome: ProgramOutcome): void => {
      clearTimeout(timer);
      clearTimeout(drainTimer);
      signal.removeEventListener('abort', callOff);
      for (const chunk of chunks) chunk.fill(0);
      resolve(outcome);
    };
    const force = (outcome: ProgramOutcome): void => {
      forced ??= outcome;
      if (child.pid !== undefined) endFamily(child.pid);
      for (const stream of streams) stream.destroy();
    };
    const callOff = (): void => force({ kind: 'called-off' });
    const timer = setTimeout(() => force({ kind: 'too-late', errorText: errorText() }), timeLimitMs);
    signal.addEventListener('abort', callOff, { once: true });

    child.stdout?.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      outputBytes += chunk.length;
      if (outputBytes > MAX_OUTPUT_BYTES) force({ kind: 'too-long' });
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      errorTail = Buffer.concat([errorTail, chunk]).subarray(-MAX_ERROR_BYTES);
    });
    for (const stream of streams) stream.on('error', () => undefined);

    child.once('error', (error: NodeJS.ErrnoException) =>
      settle({ kind: 'not-started', code: error.code ?? 'unknown' }),
    );
    child.once('exit', () => {
      const { pid } = child;
      if (pid === undefined) return;
      endGroup(pid);
      drainTimer = setTimeout(() => {
        // What the program wrote before it ended is read in between.
        setImmediate(() => {
          endFamily(pid);
          for (const stream of streams) stream.destroy();
        });
      }, DRAIN_MS);
    });
    child.once('close', (status, endedBy) => {
      if (forced !== undefined) settle(forced);
      else if (status === null) settle({ kind: 'signaled', signal: endedBy ?? 'unknown', errorText: errorText() });
      else settle({ kind: 'exited', status, output: Uint8Array.from(Buffer.concat(chunks)), errorText: errorText() });
    });
  });
}

/** Text of a program's for people: without what would steer a terminal. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '').trim();
}

/** The path of a program in the absolute folders of `PATH`: what lies in the present folder is nobody's choice. */
export function findProgram(name: string, path = ''): string | undefined {
  for (const folder of path.split(delimiter)) {
    if (!isAbsolute(folder)) continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      continue;
    }
  }
  return undefined;
}
