import { SallyportError } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { HeadStart } from '../engine/head-start.ts';
import { formatPhases } from '../engine/milestones.ts';
import { createReporter, refuseBareWord } from './report.ts';
import { planRun, type RunFlags } from './run-plan.ts';

const RUN_EXAMPLES = `
Examples:
  sallyport run --secret GITHUB_TOKEN@api.github.com -- curl -s https://api.github.com/user
  sallyport run --secret TOKEN@github.com --secret-in basic -- sh -c 'git clone https://x:$TOKEN@github.com/me/repo'
  sallyport run --allow packages.example.com --memory 2g --timeout 10m -- npm test

Exit status: the command's own; 128+n when signal n ended it; 126 when it cannot be executed, 127 when it is not found;
125 when Sallyport failed; 2 for bad usage.`;

/** The repeatable options; without a default of Commander's, which help would print. */
const REPEATABLE = {
  secret: [],
  secretIn: [],
  allow: [],
  deny: [],
  tunnel: [],
  env: [],
  envFile: [],
  volume: [],
  resolve: [],
  upstreamCa: [],
  clientCert: [],
} as const satisfies Partial<RunFlags>;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport run`. `command` is what stands after `--`; null where there is no `--`. */
export function addRunCommand(
  program: Command,
  command: readonly string[] | null,
  headStart: HeadStart | null,
  settle: (status: number) => void,
): void {
  program
    .command('run')
    .usage('[options] -- COMMAND [ARG...]')
    .summary('run a command in a sandbox')
    .description(
      'Run COMMAND in a sandbox. Its environment holds placeholders; the gate puts the real values in for the hosts that they are bound to.',
    )
    .argument('[command...]', 'the command and its arguments, after --')
    .option(
      '--secret <spec>',
      'ENV@HOST[,HOST...] (value from the host variable ENV) or ENV=VALUE@HOST[,HOST...]; HOST: name, *.name, **.name, :port, http://name for cleartext',
      collect,
    )
    .option(
      '--secret-in <locations>',
      'where placeholders are replaced: header, header:NAME, basic, query, path, body, websocket (default: header,basic)',
      collect,
    )
    .option('--allow <host>', 'allow HOST[:PORT], an address or a CIDR range; without a port: 80 and 443', collect)
    .option('--deny <host>', 'deny HOST[:PORT], an address or a CIDR range; wins over --allow and --secret', collect)
    .option('--tunnel <host>', 'allow HOST without intercepting its TLS (weaker: nothing is redacted there)', collect)
    .option('-e, --env <variable>', 'K=V sets a plain variable, K passes the one of the host', collect)
    .option('--env-file <file>', 'plain variables from a file of K=V lines', collect)
    .option('-v, --volume <mount>', 'SRC:DST[:ro] mounts a directory or file of the host', collect)
    .option('-w, --workdir <directory>', 'working directory in the sandbox (default: the workspace)')
    .option('--no-workspace', 'do not mount the current directory')
    .option('--force-workspace', 'allow the home directory as the workspace')
    .option('--git-writable', 'leave .git/hooks and .git/config of the workspace writable')
    .option('--name <name>', 'name of the sandbox, also its host name (default: a generated one)')
    .option('--memory <size>', 'memory limit, such as 512m or 2g')
    .option('--cpus <number>', 'processor limit, such as 1.5')
    .option('--pids <number>', 'process limit (default: 4096)')
    .option('--timeout <duration>', 'end the command after this time, such as 30s, 10m, 1h')
    .option('--runtime <runtime>', 'OCI runtime: runc, crun, runsc or a path')
    .option(
      '--resolve <pin>',
      'HOST:PORT:ADDRESS[:PORT] dials this address for that host; the certificate is checked all the same',
      collect,
    )
    .option('--upstream-ca <file>', 'PEM file with further roots for upstream certificates', collect)
    .option(
      '--client-cert <spec>',
      'HOST[:PORT]=CERT_FILE[,KEY_FILE]: a PEM certificate and key that the gate shows this host when it asks (mutual TLS); allows the host',
      collect,
    )
    .option('--audit <file>', 'append audit events to this file (default: the state directory)')
    .option('--timings', 'print what share each phase of the run had')
    .option('-q, --quiet', 'no notices')
    .option('--verbose', 'tell what happens')
    .addHelpText('after', RUN_EXAMPLES)
    .action(async (words: readonly string[], given: Partial<RunFlags> & Pick<RunFlags, 'workspace'>) => {
      if (words[0] !== undefined) throw refuseBareWord(words[0]);
      if (command === null || command.length === 0 || headStart === null) {
        throw new SallyportError('USAGE', 'There is no command. Write sallyport run [options] -- COMMAND [ARG...].');
      }
      const flags: RunFlags = { ...REPEATABLE, ...given };
      const reporter = createReporter({ quiet: flags.quiet === true, verbose: flags.verbose === true });
      const plan = planRun(flags, command, { environment: process.env, cwd: process.cwd() }, reporter);
      // Loaded late: bad usage is told without loading the engine.
      await import('../sandbox/sandbox.ts');
      const { runPlan } = await import('../engine/run.ts');
      headStart.milestones.mark('plan made');
      settle(await runPlan(plan, reporter, headStart));
      if (plan.timings) process.stderr.write(formatPhases(headStart.milestones.phases()));
    });
  program
    .command('create', { hidden: true })
    .argument('[words...]')
    .allowUnknownOption()
    .action(() => {
      throw new SallyportError(
        'NOT_SUPPORTED_YET',
        'Named sandboxes (create) are not supported yet. Use sallyport run [options] -- COMMAND [ARG...].',
      );
    });
}
