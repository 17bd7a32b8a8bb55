import { SallyportError } from '@sallyport/sdk';
import { Command, CommanderError } from 'commander';
import { addAuditCommand } from './audit.ts';
import { exitStatusOf, reportError } from './report.ts';
import { addRunCommand } from './run.ts';
import { readVersion } from './version.ts';

/** Parses the command line and runs one command. Resolves to the exit status. */
async function main(argv: readonly string[]): Promise<number> {
  let status = 0;
  const program = new Command('sallyport')
    .description('Run untrusted code in a sandbox with credentials that the code never holds.')
    .version(`sallyport ${readVersion()}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .showHelpAfterError('(sallyport --help tells what there is)')
    .exitOverride();
  const settle = (value: number): void => {
    status = value;
  };
  addRunCommand(program, argv, settle);
  addAuditCommand(program, settle);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    // Commander has printed its own message; help and version are successes.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    reportError(error);
    return error instanceof SallyportError ? exitStatusOf(error.code) : 125;
  }
}

process.exitCode = await main(process.argv.slice(2));
