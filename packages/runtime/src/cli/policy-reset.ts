import { createInterface } from 'node:readline/promises';
import { SallyportError, type StoredRuleList } from '@sallyport/sdk';
import type { Command } from 'commander';
import { PRESET_NAMES } from '../policy/presets.ts';
import { connect } from './daemon-connection.ts';
import { createReporter } from './report.ts';
import { describeScope, readScope } from './secret-scope.ts';

/** Adds `sallyport policy init`. */
export function addPolicyInitCommand(policy: Command): void {
  policy
    .command('init')
    .summary('choose what sandboxes reach by default')
    .description(
      'Put the rules of a preset in the place of those that another preset left; rules of your own stay. locked: nothing but the hosts of secrets ' +
        'and services (so it is without a choice); balanced: package registries, git hosts and documentation; open: every public name. ' +
        'docs/policy-presets.md has them host by host.',
    )
    .argument('<preset>', 'locked, balanced or open')
    .action(async (word: string) => {
      const preset = PRESET_NAMES.find((each) => each === word);
      if (preset === undefined) throw new SallyportError('USAGE', `There are the presets ${PRESET_NAMES.join(', ')}.`);
      const client = await connect();
      const { rules } = await client.ask<StoredRuleList>({
        method: 'PUT',
        path: '/v1/policy/preset',
        body: { preset },
      });
      if (preset === 'open') {
        createReporter({ quiet: false, verbose: false }).notice(
          'whatever a sandbox can read, it can send to anybody now; placeholders are worth nothing there',
        );
      }
      process.stdout.write(
        `preset ${preset}: ${rules.length} ${rules.length === 1 ? 'rule' : 'rules'} for all sandboxes\n`,
      );
    });
}

/** Adds `sallyport policy reset`. */
export function addPolicyResetCommand(policy: Command, settle: (status: number) => void): void {
  policy
    .command('reset')
    .summary('remove all stored rules')
    .description(
      "Remove all stored rules, those of presets included, or one sandbox's. What sandboxes were made with stays. " +
        'Exit status: 1 when the question was answered with no.',
    )
    .option('--sandbox <name>', "only this sandbox's rules")
    .option('-f, --force', 'do not ask')
    .action(async (flags: { readonly sandbox?: string; readonly force?: boolean }) => {
      const scope = readScope([], flags) ?? null;
      if (flags.force !== true && !(process.stdin.isTTY && process.stderr.isTTY)) {
        throw new SallyportError('USAGE', 'policy reset asks first, and there is no terminal to ask at. Add --force.');
      }
      const query = scope === null ? '' : `?sandbox=${scope}`;
      const client = await connect();
      const { rules } = await client.ask<StoredRuleList>({ method: 'GET', path: `/v1/policy/rules${query}` });
      if (flags.force !== true && !(await isConfirmed(rules.length, scope))) {
        process.stderr.write('sallyport: nothing was removed\n');
        settle(1);
        return;
      }
      const body = scope === null ? {} : { sandbox: scope };
      const removed = await client.ask<StoredRuleList>({ method: 'POST', path: '/v1/policy/reset', body });
      const count = removed.rules.length;
      process.stdout.write(`removed ${count} ${count === 1 ? 'rule' : 'rules'}\n`);
    });
}

async function isConfirmed(count: number, scope: string | null): Promise<boolean> {
  const whose = scope === null ? '' : ` for ${describeScope(scope)}`;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(
      `This removes ${count} ${count === 1 ? 'rule' : 'rules'}${whose}. Go on? [y/N] `,
    );
    return /^y(?:es)?$/i.test(answer.trim());
  } catch {
    // Control-D, Control-C.
    process.stderr.write('\n');
    return false;
  } finally {
    terminal.close();
  }
}
