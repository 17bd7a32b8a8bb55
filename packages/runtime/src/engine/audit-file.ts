import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { isWithin } from '../sandbox/volumes.ts';
import type { RunPlan } from './plan.ts';

/**
 * Refuses an audit file that the sandbox could reach: what it says must not be the sandbox's to change.
 *
 * @throws SallyportError AUDIT_REFUSED.
 */
export function checkAuditFile(file: string, plan: RunPlan): void {
  const target = realPath(resolve(plan.directory, file));
  const mounted = [
    ...(plan.workspace === null ? [] : [plan.workspace]),
    ...plan.volumes.map((text) => resolve(plan.directory, text.split(':', 1)[0] ?? '')),
  ];
  for (const path of mounted) {
    if (!isWithin(target, realPath(path))) continue;
    throw new SallyportError(
      'AUDIT_REFUSED',
      `The audit file ${JSON.stringify(file)} lies in ${JSON.stringify(path)}, which the sandbox can write. Put it elsewhere with --audit FILE, or leave --audit out.`,
    );
  }
}

/** The real path of what may not exist yet. */
function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}
