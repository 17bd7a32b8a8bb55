import { SallyportError, type ExecCreate } from '@sallyport/sdk';
import type { Command } from 'commander';
import { parseDuration } from '../sandbox/limits.ts';
import { isEnvironmentName } from '../secrets/secret-spec.ts';
import { followCommand, terminalSize } from './command-streams.ts';
import { connect, sandboxPath } from './daemon-connection.ts';

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly timeout?: string;
}

const EXEC_EXAMPLES = `
Examples:
  sallyport exec worker -- npm test
  sallyport exec -it worker -- bash
  echo hello | sallyport exec -i worker -- cat
  sallyport exec -e DEBUG=1 -w /tmp --timeout 10m worker -- make

Without -t standard output and standard error come apart; with it the command has a terminal, whose size and keys are
this one's. A command goes on when this program is killed: "sallyport attach" finds it again, "sallyport logs" has what it
wrote. Exit status: as for run; 2 when there is no such sandbox or it does not run.`;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport exec`. `command` is what stands after `--`; null where there is no `--`. */
export function addExecCommand(
  program: Command,
  command: readonly string[] | null,
  settle: (status: number) => void,
): void {
  program
    .command('exec')
    .usage('[options] NAME -- COMMAND [ARG...]')
    .summary('run a command in a named sandbox')
    .description('Run COMMAND in a sandbox that the daemon keeps.')
    .argument('<name>', 'the sandbox')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the command a terminal')
    .option('-e, --env <variable>', 'K=V sets a variable, K passes the one of the host', collect)
    .option('-w, --workdir <directory>', 'working directory in the sandbox')
    .option('-u, --user <user>', "USER[:GROUP] by name or number: the sandbox's own user, and no other")
    .option('--timeout <duration>', 'end the command after this time, such as 30s, 10m, 1h')
    .addHelpText('after', EXEC_EXAMPLES)
    .action(async (name: string, flags: ExecFlags) => {
      if (command === null || command.length === 0) {
        throw new SallyportError(
          'USAGE',
          'There is no command. Write sallyport exec [options] NAME -- COMMAND [ARG...].',
        );
      }
      const start: ExecCreate = {
        command: [...command],
        env: readVariables(flags.env ?? []),
        stdin: flags.interactive === true,
        ...(flags.workdir === undefined ? {} : { workdir: flags.workdir }),
        ...(flags.user === undefined ? {} : { user: flags.user }),
        ...(flags.timeout === undefined ? {} : { timeoutMs: parseDuration(flags.timeout) }),
        ...(flags.tty === true ? { terminal: terminalSize() } : {}),
      };
      const status = await followCommand(await connect(), {
        sandboxPath: sandboxPath(name),
        command: { start },
        passesInput: flags.interactive === true,
        passesSignals: true,
        canDetach: false,
      });
      settle(status ?? 0);
    });
}

function readVariables(texts: readonly string[]): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const text of texts) {
    const split = text.indexOf('=');
    const name = split < 0 ? text : text.slice(0, split);
    if (!isEnvironmentName(name)) {
      throw new SallyportError(
        'INVALID_ENVIRONMENT',
        '--env: what stands there is no variable name. Write NAME=VALUE, or NAME.',
      );
    }
    const value = split < 0 ? process.env[name] : text.slice(split + 1);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}
