import type { Command } from 'commander';
import { addPolicyCheckCommand } from './policy-check.ts';

/** Adds `sallyport policy` and what is below it. */
export function addPolicyCommand(program: Command, settle: (status: number) => void): void {
  const policy = program.command('policy').description('Say what sandboxes may reach, and ask about it.');
  addPolicyCheckCommand(policy, settle);
}
