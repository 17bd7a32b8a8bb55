import { posix } from 'node:path';
import { SallyportError, type FileEntry } from '@sallyport/sdk';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { sandboxPath } from './daemon-connection.ts';

/** `NAME:PATH`. What stands before the colon is for the daemon to judge. */
export const SANDBOX_OPERAND = /^([^/:]+):([^]*)$/;

/** A place in a sandbox. */
export interface SandboxPlace {
  readonly kind: 'sandbox';
  readonly sandbox: string;
  readonly path: string;
}

/** One side of a copy. */
export type Operand = SandboxPlace | { readonly kind: 'host'; readonly path: string } | { readonly kind: 'stream' };

/** What a copy tells while it goes on. */
export interface CopyWatch {
  readonly isArchive: boolean;
  readonly onBytes: (count: number) => void;
  readonly onLeftOut: (path: string, why: string) => void;
}

/** The path of a file endpoint for a place. */
export function filesPath(
  { sandbox, path }: SandboxPlace,
  endpoint: string,
  query: Record<string, string> = {},
): string {
  return `${sandboxPath(sandbox)}/files/${endpoint}?${new URLSearchParams({ path, ...query }).toString()}`;
}

/** The same place without slashes at its end and without dots. */
export function plainPlace(place: SandboxPlace): SandboxPlace {
  const path = posix.normalize(place.path).replace(/(?<=.)\/+$/, '');
  return { ...place, path };
}

/** What there is at a place; undefined for nothing. A link is not followed. */
export async function findEntry(client: DaemonClient, place: SandboxPlace): Promise<FileEntry | undefined> {
  try {
    return await client.ask<FileEntry>({ method: 'GET', path: filesPath(place, 'entry') });
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'FILE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Whether there is a directory at a place, or a link to one. */
export async function isDirectory(client: DaemonClient, place: SandboxPlace): Promise<boolean> {
  const entry = await findEntry(client, { ...place, path: `${place.path === '/' ? '' : place.path}/.` });
  return entry?.type === 'directory';
}
