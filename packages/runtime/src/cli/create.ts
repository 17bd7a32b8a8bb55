import { resolve } from 'node:path';
import type { SandboxCreate, SandboxInfo, SecretSpec } from '@sallyport/sdk';
import type { Command } from 'commander';
import { serviceUnknown } from '../engine/effective-secrets.ts';
import type { RunPlan } from '../engine/plan.ts';
import { formatHostAndPort } from '../policy/host-name.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import { handOverValue } from '../secrets/secret-set-sealing.ts';
import { formatLocation, formatSecretHost } from '../secrets/secret-spec.ts';
import { parseVolume } from '../sandbox/volumes.ts';
import { findService } from '../services/catalogue.ts';
import { findServiceKey } from '../sources/service-key.ts';
import { connect } from './daemon-connection.ts';
import { withProgress } from './progress.ts';
import { createReporter } from './report.ts';
import { planRun, type RunFlags } from './run-plan.ts';
import { addSandboxOptions, REPEATABLE } from './sandbox-options.ts';

/** Adds `sallyport create`. */
export function addCreateCommand(program: Command): void {
  addSandboxOptions(program.command('create'))
    .summary('make a named sandbox and start it')
    .description(
      'Make a sandbox that lives on, kept by the daemon. Run commands in it with "sallyport exec NAME -- COMMAND". Prints its name.',
    )
    .argument('[image]', '"host", the default: the programs of this machine')
    .option('--rm', 'remove it as soon as it has stopped')
    .option('--no-start', 'do not start it yet')
    .option('--json', 'print the sandbox as JSON')
    .option('-q, --quiet', 'no notices')
    .action(async (image: string | undefined, given: Partial<RunFlags> & Pick<RunFlags, 'workspace'> & OwnFlags) => {
      const flags: RunFlags = { ...REPEATABLE, ...given };
      const reporter = createReporter({ quiet: flags.quiet === true, verbose: false });
      const plan = planRun(flags, [], { environment: process.env, cwd: process.cwd() }, reporter);
      const request: SandboxCreate = {
        ...(await createRequestOf(plan)),
        ...(flags.name === undefined ? {} : { name: flags.name }),
        ...(image === undefined ? {} : { image }),
        start: given.start,
        autoRemove: given.rm === true,
      };
      const client = await connect();
      const sandbox = await withProgress(
        'making the sandbox',
        client.ask<SandboxInfo>({ method: 'POST', path: '/v1/sandboxes', body: request }),
      );
      for (const notice of sandbox.notices) reporter.notice(notice);
      process.stdout.write(given.json === true ? `${JSON.stringify(sandbox)}\n` : `${sandbox.name}\n`);
    });
}

interface OwnFlags {
  readonly rm?: boolean;
  readonly start: boolean;
  readonly json?: boolean;
}

function ownRequestOf(secret: BoundSecret): SecretSpec {
  const hosts = secret.hosts.map(formatSecretHost);
  return {
    source: 'value',
    env: secret.env,
    name: secret.name,
    value: handOverValue(secret.value, (text) => text),
    allowHosts: hosts.filter((host) => !host.includes('*')),
    allowHostPatterns: hosts.filter((host) => host.includes('*')),
    locations: secret.locations.map(formatLocation),
  };
}

/** A service with the key of this host; without one it has to be stored. */
async function serviceRequestOf(name: string): Promise<SecretSpec> {
  const definition = findService(name);
  if (definition === undefined) throw serviceUnknown(name);
  const found = await findServiceKey(definition, process.env);
  return found === null ? { source: 'store', name } : { source: 'service', service: name, value: found.text };
}

/** What the daemon is asked for, of a plan that would be run here otherwise. */
export async function createRequestOf(plan: RunPlan): Promise<SandboxCreate> {
  const { network, limits } = plan;
  return {
    env: Object.fromEntries(plan.environment),
    secrets: [
      ...plan.secrets.secrets.map(ownRequestOf),
      ...plan.named.map(({ name, env }) => ({ source: 'store' as const, name, ...(env === null ? {} : { env }) })),
      ...(await Promise.all(plan.services.map(serviceRequestOf))),
    ],
    network: {
      allow: [...network.allow],
      deny: [...network.deny],
      tunnel: [...network.tunnel],
      resolve: Object.fromEntries(
        network.pins.map((pin) => [
          formatHostAndPort(pin.host, pin.port),
          formatHostAndPort(pin.address, pin.addressPort),
        ]),
      ),
      upstreamCa: network.upstreamCaFiles.map((file) => resolve(plan.directory, file)),
      clientCertificates: network.clientCertificates.map(({ host, port, certificateFile, keyFile }) => ({
        host: formatHostAndPort(host, port),
        certificate: certificateFile,
        key: keyFile,
      })),
    },
    ...(plan.workspace === null ? {} : { workspace: plan.workspace }),
    forceWorkspace: plan.forceWorkspace,
    gitWritable: plan.gitWritable,
    volumes: plan.volumes.map((text) => parseVolume(text, plan.directory)),
    ...(plan.workdir === null ? {} : { workdir: plan.workdir }),
    limits: {
      ...(limits.memoryBytes === undefined ? {} : { memoryBytes: limits.memoryBytes }),
      ...(limits.cpus === undefined ? {} : { cpus: limits.cpus }),
      pids: limits.pids,
    },
    ...(plan.runtime === null
      ? {}
      : { runtime: plan.runtime.includes('/') ? resolve(plan.directory, plan.runtime) : plan.runtime }),
    ...(plan.auditFile === null ? {} : { auditFile: resolve(plan.directory, plan.auditFile) }),
  };
}
