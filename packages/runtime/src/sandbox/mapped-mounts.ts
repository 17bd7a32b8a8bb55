import { closeSync } from 'node:fs';
import { SystemCallError, systemCalls } from '../airlock/system-calls.ts';
import type { MountAttribute, SystemCalls } from '../airlock/system-calls.ts';

/** One mount to be staged with a map of owners, or as it is staged already. */
export interface MappedMountRequest {
  /** Canonical path without any symbolic link; opening it through one fails. */
  readonly source: string;
  /** An existing directory or file in the stage. */
  readonly target: string;
  readonly readOnly: boolean;
  /** A descriptor of the user namespace whose map the mount gets; absent: the source is staged already. */
  readonly owners?: number;
}

/** What became of a request. */
export type MappedMountReport =
  | { readonly kind: 'mapped' }
  /** The file system refuses id maps: mounted, but read-only, for nothing written would have the right owner. */
  | { readonly kind: 'read-only'; readonly step: string; readonly errno: number }
  | { readonly kind: 'failed'; readonly step: string; readonly errno: number };

/**
 * Mounts host directories with a map of owners, as the host's root inside the airlock's mount namespace: only that may attach an id map
 * to a mount of the host's file systems, and reach sources below a folder such as `/root`. Ends at the first that fails.
 *
 * @param namespace a descriptor of the airlock's mount namespace
 * @throws SystemCallError where this process may not go there
 */
export function mountMapped(namespace: number, requests: readonly MappedMountRequest[]): readonly MappedMountReport[] {
  const calls = systemCalls();
  return calls.withinMountNamespace(namespace, () => {
    const reports: MappedMountReport[] = [];
    for (const request of requests) {
      const report = mountOne(calls, request);
      reports.push(report);
      if (report.kind === 'failed') break;
    }
    return reports;
  });
}

function mountOne(calls: SystemCalls, { source, target, readOnly, owners }: MappedMountRequest): MappedMountReport {
  let mounts: number | undefined;
  try {
    mounts = calls.copyMounts(source);
    const report = restrict(calls, mounts, readOnly, owners);
    calls.attachMounts(mounts, target);
    return report;
  } catch (error) {
    return { kind: 'failed', ...describe(error) };
  } finally {
    if (mounts !== undefined) closeSync(mounts);
  }
}

function restrict(calls: SystemCalls, mounts: number, readOnly: boolean, owners?: number): MappedMountReport {
  const always: readonly MountAttribute[] = ['nosuid', 'nodev', ...(readOnly ? (['read-only'] as const) : [])];
  if (owners === undefined) {
    calls.setMountAttributes(mounts, always);
    return { kind: 'mapped' };
  }
  try {
    calls.setMountAttributes(mounts, always, owners);
    return { kind: 'mapped' };
  } catch (error) {
    calls.setMountAttributes(mounts, ['nosuid', 'nodev', 'read-only']);
    return { kind: 'read-only', ...describe(error) };
  }
}

function describe(error: unknown): { readonly step: string; readonly errno: number } {
  if (error instanceof SystemCallError) return { step: error.call, errno: error.errno };
  throw error;
}
