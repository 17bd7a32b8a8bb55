import { SallyportError } from '@sallyport/sdk';
import { Command, CommanderError } from 'commander';
import { exitStatusOf, explainUsage, reportError } from './report.ts';
import { readVersion } from './version.ts';

/**
 * Adds commands to the program. `command` is what stands after `--`, null where there is no `--`; `settle` sets the exit status, which is 0 otherwise.
 */
export type AddCommands = (
  program: Command,
  command: readonly string[] | null,
  settle: (status: number) => void,
) => void;

/** Parses the command line and runs one of the commands that `addCommands` adds. Resolves to the exit status. */
export async function runCommandLine(argv: readonly string[], addCommands: AddCommands): Promise<number> {
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
  addCommands(program, command, settle);
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
