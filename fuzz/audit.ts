/**
 * Fuzz target for the verification of audit logs: any change to a log, bytes or whole lines, is reported, and nothing makes the verifier
 * throw.
 *
 * `node --conditions=sallyport-source fuzz/audit.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { AuditLog } from '../packages/runtime/src/audit/audit-log.ts';
import { verifyAudit } from '../packages/runtime/src/audit/verify-audit.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';

const LINES = 9;
const PUT_IN = ['\n', '\r', ' ', '\0', '{}', '{}\n', '{"seq":3}\n', '"', '\\', ',"seq":4', '}\n{', '\ufeff', 'x'];

/** Changes, made one after another: to bytes (at a place, so many out, these in) or to lines (from, to). */
type Edit = { what: string; at: number; count: number; put: string };
type Case = { edits: Edit[] };

function apply(log: Buffer, { what, at, count, put }: Edit): Buffer {
  if (what === 'bytes') {
    const start = Math.min(at, log.length);
    return Buffer.concat([log.subarray(0, start), Buffer.from(put, 'latin1'), log.subarray(start + count)]);
  }
  const lines = log.toString('latin1').split(/(?<=\n)/);
  const [line = ''] = lines.slice(at % lines.length);
  switch (what) {
    case 'remove line':
      lines.splice(at % lines.length, 1 + (count % 3));
      break;
    case 'move line':
      lines.splice(at % lines.length, 1);
      lines.splice(count % (lines.length + 1), 0, line);
      break;
    case 'copy line':
      lines.splice(count % (lines.length + 1), 0, line);
      break;
    case 'swap macs': {
      const other = lines[count % lines.length] ?? '';
      const mac = /[0-9a-f]{64}/.exec(other)?.[0];
      if (mac !== undefined) lines[at % lines.length] = line.replace(/[0-9a-f]{64}/, mac);
      break;
    }
    case 'renumber':
      lines[at % lines.length] = line.replace(/"seq":\d+/, `"seq":${count}`);
      break;
  }
  return Buffer.from(lines.join(''), 'latin1');
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  const base = mkdtempSync(join(tmpdir(), 'sallyport-fuzz-audit-'));
  const file = join(base, 'audit.jsonl');
  const stateDirectory = join(base, 'state');
  // Written in two sessions, as one log often is.
  for (let session = 0; session < 2; session += 1) {
    const log = await AuditLog.open({ file, stateDirectory, sandbox: `box${session}` });
    for (let index = session; index < LINES; index += 2)
      log.record({
        kind: 'request',
        decision: 'allow',
        host: 'b\u00fccher.example',
        path: `/${index}`,
        secrets: ['A'],
      });
    await log.close();
  }
  const original = readFileSync(file);
  return {
    name: 'audit',
    generate(random) {
      const edits = Array.from({ length: random.oneIn(3) ? 1 + random.below(3) : 1 }, () => {
        const what = random.pick(['bytes', 'bytes', 'remove line', 'move line', 'copy line', 'swap macs', 'renumber']);
        const at = random.below(what === 'bytes' ? original.length + 1 : LINES);
        const put = random.oneIn(2)
          ? String.fromCharCode(random.below(256))
          : random.oneIn(2)
            ? random.pick(PUT_IN)
            : '';
        const count = what === 'bytes' ? random.pick([0, 1, 1, put.length, 300]) : random.below(LINES + 3);
        return { what, at, count, put };
      });
      return { edits };
    },
    async check({ edits }, note) {
      const changed = edits.reduce<Buffer>((log, edit) => apply(log, edit), original);
      writeFileSync(file, changed);
      const { ok, problems } = await verifyAudit({ file, stateDirectory });
      if (changed.equals(original)) {
        note('left as it was');
        return ok ? null : `reported although nothing was changed: ${JSON.stringify(problems)}`;
      }
      note(problems[0]?.kind ?? 'unnoticed');
      return ok ? `unnoticed: ${JSON.stringify(edits)}` : null;
    },
    close: () => rmSync(base, { recursive: true }),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 3000);
