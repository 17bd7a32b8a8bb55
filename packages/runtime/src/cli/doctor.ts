import type { Command } from 'commander';
import type { CheckResult } from './doctor-checks.ts';
import { writeOut } from './daemon-connection.ts';
import { showText } from './table.ts';

const SIGNS = { pass: 'ok  ', warn: 'note', fail: 'FAIL' } as const;

/** Adds `sallyport doctor`. Exit status: 0 when sandboxes can be made here, 1 when something keeps them from it. */
export function addDoctorCommand(program: Command, settle: (status: number) => void): void {
  program
    .command('doctor')
    .summary('tell whether this machine has what sandboxes need')
    .description(
      'Look at everything that sandboxes need, and say what to do where it is missing. Exit status: 0 when all is there, 1 when not.',
    )
    .option('--json', 'print the result as JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const { listChecks, runChecks } = await import('./doctor-checks.ts');
      const results: CheckResult[] = [];
      for await (const result of runChecks(listChecks(process.env))) {
        results.push(result);
        if (flags.json !== true) await writeOut(process.stdout, describe(result));
      }
      const failed = results.filter(({ status }) => status === 'fail');
      settle(failed.length === 0 ? 0 : 1);
      if (flags.json === true) {
        await writeOut(process.stdout, `${JSON.stringify({ ok: failed.length === 0, checks: results })}\n`);
      } else if (failed.length > 0) {
        const what = failed.length === 1 ? 'One thing is' : `${failed.length} things are`;
        await writeOut(process.stdout, `\n${what} missing: see FAIL above.\n`);
      } else await writeOut(process.stdout, '\nSandboxes can be made here.\n');
    });
}

function describe({ what, status, detail }: CheckResult): string {
  return `${SIGNS[status]}  ${what}: ${showText(detail)}\n`;
}
