import { SallyportError } from '@sallyport/sdk';
import { Command, CommanderError } from 'commander';
import type { HeadStart } from '../engine/head-start.ts';
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
import { exitStatusOf, explainUsage, reportError } from './report.ts';
import { addRunCommand } from './run.ts';
import { addSecretCommand } from './secret.ts';
import { addStatsCommand } from './stats.ts';
import { readVersion } from './version.ts';
import { addVersionCommand } from './versions.ts';

/**
 * Parses the command line and runs one command. Resolves to the exit status.
 *
 * @param headStart what is begun already where the command line runs something in a sandbox, else null.
 */
export async function runCommandLine(argv: readonly string[], headStart: HeadStart | null): Promise<number> {
  let status = 0;
  const program = new Command('sallyport')
    .description('Run untrusted code in a sandbox with credentials that the code never holds.')
    .version(`sallyport ${readVersion()}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    // Its messages quote whole words, which may hold a secret; `explainUsage` says the same without.
    .configureOutput({ outputError: () => undefined })
    .exitOverride();
  const settle = (value: number): void => {
    status = value;
  };
  const { own, command } = splitCommandLine(argv);
  addRunCommand(program, command, headStart, settle);
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
  try {
    await program.parseAsync([...own], { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version are successes; help that was not asked for is an answer, but no success.
      if (error.exitCode === 0) return 0;
      if (error.code !== 'commander.help') reportError(explainUsage(error, command === null && own[0] === 'run'));
      return 2;
    }
    reportError(error);
    return error instanceof SallyportError ? exitStatusOf(error.code) : 125;
  }
}

/**
 * Splits the words of `run` and `exec` at the first `--`: what follows is the command's, and no option before it may swallow the `--` as its
 * value. `command` is null without a `--`.
 */
function splitCommandLine(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly command: readonly string[] | null;
} {
  const separator = argv[0] === 'run' || argv[0] === 'exec' ? argv.indexOf('--') : -1;
  if (separator < 0) return { own: argv, command: null };
  return { own: argv.slice(0, separator), command: argv.slice(separator + 1) };
}
