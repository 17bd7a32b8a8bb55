import { constants, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { findHostNode } from '../../e2e/harness/tools.ts';

/** Where the client half finds its Node, and what it may reach. */
export interface SallyportCommandOptions {
  readonly checkout: string;
  /** A directory that a sandbox may see; for a copy of Node where the host has none of its own. */
  readonly assets: string;
  /** Where the audit log goes. Default: the state directory. */
  readonly audit?: string;
}

/** The gauntlet's arguments that put its client half into a sandbox of this checkout, with two secrets. */
export function createSallyportCommand({ checkout, assets, audit }: SallyportCommandOptions): string[] {
  const hostNode = findHostNode();
  const mount: string[] = [];
  let node = hostNode;
  if (node?.startsWith('/usr/') !== true) {
    copyFileSync(node ?? process.execPath, join(assets, 'node'), constants.COPYFILE_FICLONE);
    node = '/gauntlet/node';
    mount.push('-v', `'${assets}:/gauntlet:ro'`);
  }
  const pins = [
    ['BOUND', 443, 'BOUND_TLS_PORT'],
    ['BOUND', 80, 'BOUND_PORT'],
    ['UNBOUND', 443, 'UNBOUND_TLS_PORT'],
    ['UNBOUND', 80, 'UNBOUND_PORT'],
  ].flatMap(([host, port, variable]) => ['--resolve', `"$GAUNTLET_${host}:${port}:127.0.0.1:$GAUNTLET_${variable}"`]);
  const words = [
    'API_TOKEN=$GAUNTLET_VALUE SECOND_TOKEN=$GAUNTLET_SECOND_VALUE exec',
    `'${checkout}/sallyport' run --no-workspace`,
    ...(audit === undefined ? [] : ['--audit', `'${audit}'`]),
    '--secret "API_TOKEN@$GAUNTLET_BOUND" --secret "SECOND_TOKEN@$GAUNTLET_UNBOUND"',
    ...pins,
    '--upstream-ca "$GAUNTLET_CA"',
    ...mount,
    '-- {}',
  ];
  return [
    ...['--start', words.join(' '), '--client-node', node],
    ...['--placeholder-env', 'API_TOKEN', '--second-placeholder-env', 'SECOND_TOKEN'],
  ];
}
