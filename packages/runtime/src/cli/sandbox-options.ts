import type { Command } from 'commander';
import type { RunFlags } from './run-plan.ts';

/** The repeatable options; without a default of Commander's, which help would print. */
export const REPEATABLE = {
  secret: [],
  service: [],
  secretIn: [],
  allow: [],
  deny: [],
  tunnel: [],
  env: [],
  envFile: [],
  volume: [],
  resolve: [],
  upstreamCa: [],
  clientCert: [],
} as const satisfies Partial<RunFlags>;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds the options that say what a sandbox is, for every command that makes one. */
export function addSandboxOptions(command: Command): Command {
  return command
    .option(
      '--secret <spec>',
      'ENV@HOST[,HOST...] (value from the host variable ENV) or ENV=VALUE@HOST[,HOST...]; HOST: name, *.name, **.name, :port, http://name for cleartext. NAME or NAME:ENV: a stored secret',
      collect,
    )
    .option(
      '--service <name>',
      'a service, such as anthropic or github: with the stored key, else the one in the usual host variable',
      collect,
    )
    .option(
      '--secret-in <locations>',
      'where placeholders are replaced: header, header:NAME, basic, query, path, body, websocket (default: header,basic)',
      collect,
    )
    .option('--allow <host>', 'allow HOST[:PORT], an address or a CIDR range; without a port: 80 and 443', collect)
    .option('--deny <host>', 'deny HOST[:PORT], an address or a CIDR range; wins over --allow and --secret', collect)
    .option('--tunnel <host>', 'allow HOST without intercepting its TLS (weaker: nothing is redacted there)', collect)
    .option('-e, --env <variable>', 'K=V sets a plain variable, K passes the one of the host', collect)
    .option('--env-file <file>', 'plain variables from a file of K=V lines', collect)
    .option('-v, --volume <mount>', 'SRC:DST[:ro] mounts a directory or file of the host', collect)
    .option('-w, --workdir <directory>', 'working directory in the sandbox (default: the workspace)')
    .option('--no-workspace', 'do not mount the current directory')
    .option('--force-workspace', 'allow the home directory as the workspace')
    .option('--git-writable', 'leave .git/hooks and .git/config of the workspace writable')
    .option('--name <name>', 'name of the sandbox, also its host name (default: a generated one)')
    .option('--memory <size>', 'memory limit, such as 512m or 2g')
    .option('--cpus <number>', 'processor limit, such as 1.5')
    .option('--pids <number>', 'process limit (default: 4096)')
    .option('--runtime <runtime>', 'OCI runtime: runc, crun, runsc or a path')
    .option(
      '--resolve <pin>',
      'HOST:PORT:ADDRESS[:PORT] dials this address for that host; the certificate is checked all the same',
      collect,
    )
    .option('--upstream-ca <file>', 'PEM file with further roots for upstream certificates', collect)
    .option(
      '--client-cert <spec>',
      'HOST[:PORT]=CERT_FILE[,KEY_FILE]: a PEM certificate and key that the gate shows this host when it asks (mutual TLS); allows the host',
      collect,
    )
    .option('--audit <file>', 'append audit events to this file (default: the state directory)');
}
