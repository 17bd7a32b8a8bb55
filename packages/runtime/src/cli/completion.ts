import { SallyportError, type SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connectIfThere } from './daemon-connection.ts';
import { describeCommands, formatCompletion, SHELLS } from './completion-script.ts';

/** Adds `sallyport completion bash|zsh|fish`. */
export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .summary('print what completes command lines in a shell')
    .description(
      'Print a script that completes command lines of sallyport. bash: eval "$(sallyport completion bash)" in ~/.bashrc; ' +
        'zsh: the same in ~/.zshrc, after compinit; fish: sallyport completion fish > ~/.config/fish/completions/sallyport.fish',
    )
    .argument('<shell>', 'bash, zsh or fish')
    .action((word: string) => {
      const shell = SHELLS.find((each) => each === word);
      if (shell === undefined) throw new SallyportError('USAGE', `There are completions for ${SHELLS.join(', ')}.`);
      process.stdout.write(formatCompletion(shell, describeCommands(program)));
    });
  program
    .command('complete-names', { hidden: true })
    .description('Print the names of sandboxes, where there is a daemon; for completions.')
    .action(async () => {
      const client = await connectIfThere();
      if (client === undefined) return;
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      process.stdout.write(sandboxes.map(({ name }) => `${name}\n`).join(''));
    });
}
