import type { Command } from 'commander';
import type { AuditVerification } from '../audit/verify-audit.ts';
import { stateDirectory } from '../engine/state-directory.ts';

/** Adds `sallyport audit verify`. Exit status: 0 when the log is whole, 1 when it is not, 2 when it cannot be read. */
export function addAuditCommand(program: Command, settle: (status: number) => void): void {
  const audit = program.command('audit').description('work with audit logs');
  audit
    .command('verify')
    .summary('tell whether lines of an audit log were changed, removed or reordered')
    .description(
      'Check the chain of an audit log against the key and the last head in the state directory. ' +
        'Exit status: 0 whole, 1 changed, removed, reordered or unanchored, 2 unreadable.',
    )
    .argument('<file>', 'the audit log')
    .option('--json', 'print the result as JSON')
    .action(async (file: string, flags: { readonly json?: boolean }) => {
      const { verifyAudit } = await import('../audit/verify-audit.ts');
      const result = await verifyAudit({ file, stateDirectory: stateDirectory(process.env) });
      if (flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
      else process.stdout.write(describeVerification(file, result));
      settle(result.ok ? 0 : 1);
    });
}

/** One line for each problem, as `FILE:LINE: KIND: WORDS`; a log without any is whole. */
function describeVerification(file: string, result: AuditVerification): string {
  if (result.ok) return `${file}: whole, ${result.lines} ${result.lines === 1 ? 'line' : 'lines'}\n`;
  const lines = result.problems.map(
    ({ kind, line, detail }) => `${file}${line === null ? '' : `:${line}`}: ${kind}: ${detail}\n`,
  );
  const unlisted = result.problemCount - result.problems.length;
  return lines.join('') + (unlisted > 0 ? `${file}: ${unlisted} further problems\n` : '');
}
