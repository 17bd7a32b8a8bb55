import { SallyportError } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { HeadStart } from '../engine/head-start.ts';
import { formatPhases } from '../engine/milestones.ts';
import type { RunPlan } from '../engine/plan.ts';
import { createReporter, refuseBareWord, type Reporter } from './report.ts';
import { addSandboxOptions, REPEATABLE } from './sandbox-options.ts';
import { planRun, type RunFlags } from './run-plan.ts';

const RUN_EXAMPLES = `
Examples:
  sallyport run --secret GITHUB_TOKEN@api.github.com -- curl -s https://api.github.com/user
  sallyport run --secret TOKEN@github.com --secret-in basic -- sh -c 'git clone https://x:$TOKEN@github.com/me/repo'
  sallyport run --allow packages.example.com --memory 2g --timeout 10m -- npm test
  sallyport run --name worker --keep -- npm ci      # "sallyport exec worker -- …" goes on in the same sandbox

Exit status: the command's own; 128+n when signal n ended it; 126 when it cannot be executed, 127 when it is not found;
125 when Sallyport failed; 2 for bad usage; 123 when it ended the sandbox because of what was done with a placeholder.`;

/** Runs the command in a sandbox that the daemon keeps. Resolves to the exit status. */
export type RunKept = (plan: RunPlan, name: string | undefined, reporter: Reporter) => Promise<number>;

/** Where the command is to run: in a sandbox that is begun already, or in one that is kept. */
type RunPlace =
  | { readonly kind: 'begun'; readonly headStart: HeadStart }
  | { readonly kind: 'kept'; readonly run: RunKept };

/** Adds `sallyport run`. `command` is what stands after `--`; null where there is no `--`. */
export function addRunCommand(
  program: Command,
  command: readonly string[] | null,
  place: RunPlace,
  settle: (status: number) => void,
): void {
  addSandboxOptions(program.command('run'))
    .usage('[options] -- COMMAND [ARG...]')
    .summary('run a command in a sandbox')
    .description(
      'Run COMMAND in a sandbox. Its environment holds placeholders; the gate puts the real values in for the hosts that they are bound to.',
    )
    .argument('[command...]', 'the command and its arguments, after --')
    .option('--timeout <duration>', 'end the command after this time, such as 30s, 10m, 1h')
    .option('--keep', 'leave the sandbox behind, running; the daemon keeps it')
    .option('--timings', 'print what share each phase of the run had')
    .option('-q, --quiet', 'no notices')
    .option('--verbose', 'tell what happens')
    .addHelpText('after', RUN_EXAMPLES)
    .action(async (words: readonly string[], given: Partial<RunFlags> & Pick<RunFlags, 'workspace'>) => {
      if (words[0] !== undefined) throw refuseBareWord(words[0]);
      if (command === null || command.length === 0 || (given.keep === true) !== (place.kind === 'kept')) {
        throw new SallyportError('USAGE', 'There is no command. Write sallyport run [options] -- COMMAND [ARG...].');
      }
      const flags: RunFlags = { ...REPEATABLE, ...given };
      const reporter = createReporter({ quiet: flags.quiet === true, verbose: flags.verbose === true });
      const plan = planRun(flags, command, { environment: process.env, cwd: process.cwd() }, reporter);
      if (place.kind === 'kept') {
        settle(await place.run(plan, flags.name, reporter));
        return;
      }
      const { headStart } = place;
      // Loaded late: bad usage is told without loading the engine.
      await import('../sandbox/sandbox.ts');
      const { runPlan } = await import('../engine/run.ts');
      headStart.milestones.mark('plan made');
      settle(await runPlan(plan, reporter, headStart));
      if (plan.timings) process.stderr.write(formatPhases(headStart.milestones.phases()));
    });
}
