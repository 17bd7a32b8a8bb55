import type { Command } from 'commander';
import { addPolicyCheckCommand } from './policy-check.ts';
import { addPolicyLogCommand } from './policy-log.ts';
import { addPolicyLsCommand } from './policy-ls.ts';
import { addPolicyInitCommand, addPolicyResetCommand } from './policy-reset.ts';
import { addPolicyRemoveCommand, addPolicyRuleCommands } from './policy-rules.ts';
import { refuseRepeatedOptions } from './single-options.ts';

/** Adds `sallyport policy` and what is below it. */
export function addPolicyCommand(program: Command, settle: (status: number) => void): void {
  const policy = program
    .command('policy')
    .summary('say what sandboxes may reach, and ask about it')
    .description(
      'Say what sandboxes may reach, and ask about it. What no rule allows is denied; denial wins. Rules are stored for all sandboxes or for one, and ' +
        'are in force at once. Without methods and paths a rule is for whatever a host is asked; with them its TLS is opened, and each request judged.',
    );
  addPolicyRuleCommands(policy);
  addPolicyLsCommand(policy);
  addPolicyRemoveCommand(policy);
  addPolicyCheckCommand(policy, settle);
  addPolicyLogCommand(policy);
  addPolicyResetCommand(policy, settle);
  addPolicyInitCommand(policy);
  refuseRepeatedOptions(policy);
}
