import type { AddCommands } from './command-line.ts';
import { addAttachCommand } from './attach.ts';
import { addAuditCommand } from './audit.ts';
import { addCompletionCommand } from './completion.ts';
import { addCopyCommand } from './copy.ts';
import { addCreateCommand } from './create.ts';
import { addDaemonCommand } from './daemon.ts';
import { addDoctorCommand } from './doctor.ts';
import { addEventsCommand } from './events.ts';
import { addExecCommand } from './exec.ts';
import { addInspectCommand } from './inspect.ts';
import { addLogsCommand } from './logs.ts';
import { addLsCommand } from './ls.ts';
import { addPolicyCommand } from './policy.ts';
import { addResetCommand } from './reset.ts';
import { addRmCommand } from './rm.ts';
import { addStartCommand } from './start.ts';
import { addStopCommand } from './stop.ts';
import { addRunCommand, type RunKept } from './run.ts';
import { addSecretCommand } from './secret.ts';
import { addStatsCommand } from './stats.ts';
import { addVersionCommand } from './versions.ts';

/** Adds every command. A sandbox for `run` is not begun here: what is left of it is `run --keep`. */
export const addCommands: AddCommands = (program, command, settle) => {
  addRunCommand(program, command, { kind: 'kept', run: runLater }, settle);
  addCreateCommand(program);
  addExecCommand(program, command, settle);
  addAttachCommand(program, settle);
  addStartCommand(program);
  addStopCommand(program);
  addRmCommand(program);
  addLsCommand(program);
  addInspectCommand(program);
  addLogsCommand(program);
  addStatsCommand(program);
  addEventsCommand(program);
  addCopyCommand(program, settle);
  addPolicyCommand(program, settle);
  addSecretCommand(program, settle);
  addResetCommand(program, settle);
  addDaemonCommand(program, settle);
  addDoctorCommand(program, settle);
  addAuditCommand(program, settle);
  addCompletionCommand(program);
  addVersionCommand(program);
};

/** Loaded late, as most of what a command does. */
async function runLater(...args: Parameters<RunKept>): Promise<number> {
  const { runKept } = await import('./run-kept.ts');
  return await runKept(...args);
}
