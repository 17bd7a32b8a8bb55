import { isatty } from 'node:tty';
import { SallyportError, type SandboxInfo } from '@sallyport/sdk';
import type { RunPlan } from '../engine/plan.ts';
import { followCommand, terminalSize } from './command-streams.ts';
import { connect, sandboxPath } from './daemon-connection.ts';
import { createRequestOf } from './create.ts';
import { withProgress } from './progress.ts';
import type { Reporter } from './report.ts';

/**
 * Runs a command in a sandbox that the daemon makes, and that stays when the command is over. Resolves to the command's exit status.
 *
 * @param name as it was asked for; undefined for a generated one.
 * @throws SallyportError SANDBOX_EXISTS, and whatever keeps the sandbox from starting: then there is none.
 */
export async function runKept(plan: RunPlan, name: string | undefined, reporter: Reporter): Promise<number> {
  if (plan.timings) {
    throw new SallyportError(
      'USAGE',
      '--timings tells of a sandbox that ends with its command; leave it or --keep out.',
    );
  }
  const client = await connect();
  const body = { ...(await createRequestOf(plan)), ...(name === undefined ? {} : { name }) };
  const sandbox = await withProgress(
    'making the sandbox',
    client.ask<SandboxInfo>({ method: 'POST', path: '/v1/sandboxes', body }),
  );
  for (const notice of sandbox.notices) reporter.notice(notice);
  reporter.notice(
    `the sandbox ${sandbox.name} stays: "sallyport exec ${sandbox.name} -- COMMAND" goes on in it, "sallyport rm -f ${sandbox.name}" removes it`,
  );
  const hasTerminal = isatty(0) && isatty(1);
  const status = await followCommand(client, {
    sandboxPath: sandboxPath(sandbox.name),
    command: {
      start: {
        command: [...plan.command],
        stdin: true,
        ...(plan.timeoutMs === null ? {} : { timeoutMs: plan.timeoutMs }),
        ...(hasTerminal ? { terminal: terminalSize() } : {}),
      },
    },
    passesInput: true,
    passesSignals: true,
    canDetach: false,
  });
  return status ?? 0;
}
