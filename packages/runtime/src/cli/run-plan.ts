import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { stateDirectory } from '../engine/state-directory.ts';
import type { NamedSecret } from '../engine/effective-secrets.ts';
import type { RunPlan } from '../engine/plan.ts';
import { DEFAULT_PIDS, parseCpus, parseDuration, parseMemory, parsePids } from '../sandbox/limits.ts';
import type { Location } from '../secrets/bound-secret.ts';
import { derivePlaceholder, PLACEHOLDER_RANDOM_BYTES } from '../secrets/placeholder.ts';
import {
  checkSecretValue,
  isEnvironmentName,
  parseLocations,
  parseResolve,
  parseSecretSpec,
  type SecretSpec,
} from '../secrets/secret-spec.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import { createSecretSet, type SecretInput } from '../secrets/secret-set.ts';
import { parseClientCertificate, refuseTwoCertificates } from '../tls/client-certificate-spec.ts';
import type { Reporter } from './report.ts';
import { checkSandboxName } from './sandbox-name.ts';

/** The options of `run` as Commander hands them over. */
export interface RunFlags {
  readonly secret: readonly string[];
  readonly service: readonly string[];
  readonly secretIn: readonly string[];
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly tunnel: readonly string[];
  readonly env: readonly string[];
  readonly envFile: readonly string[];
  readonly volume: readonly string[];
  readonly workdir?: string;
  readonly workspace: boolean;
  readonly forceWorkspace?: boolean;
  readonly gitWritable?: boolean;
  readonly name?: string;
  readonly memory?: string;
  readonly cpus?: string;
  readonly pids?: string;
  readonly timeout?: string;
  readonly runtime?: string;
  readonly resolve: readonly string[];
  readonly upstreamCa: readonly string[];
  readonly clientCert: readonly string[];
  readonly audit?: string;
  readonly timings?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly keep?: boolean;
}

/** What the plan takes from the host, as an argument so that tests can give their own. */
export interface HostContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly cwd: string;
}

/**
 * Turns the options of `run` into a checked plan.
 *
 * @throws SallyportError with a usage code for whatever is malformed, unset or contradictory.
 */
export function planRun(flags: RunFlags, command: readonly string[], host: HostContext, reporter: Reporter): RunPlan {
  const environment = planEnvironment(flags, host);
  const locations = parseLocations(flags.secretIn);
  const inputs: SecretInput[] = [];
  const named: NamedSecret[] = [];
  for (const text of flags.secret) {
    const spec = parseSecretSpec(text, locations);
    if (spec.kind === 'named') named.push({ name: spec.name, env: spec.env ?? null });
    else inputs.push(readSecret(spec, locations, host, reporter));
  }
  const secrets = createSecretSet({
    inputs,
    locations,
    plainNames: [...environment.keys()],
    placeholderFor: (env) => derivePlaceholder(env, randomBytes(PLACEHOLDER_RANDOM_BYTES)),
  });
  refuseExposure(secrets, command, environment);
  if (flags.workdir !== undefined && !isAbsolute(flags.workdir)) {
    throw new SallyportError(
      'INVALID_MOUNT',
      `--workdir ${JSON.stringify(flags.workdir)} is not absolute. Write the directory as it is inside the sandbox, from "/" on.`,
    );
  }
  const name = flags.name ?? `run-${randomBytes(4).toString('hex')}`;
  checkSandboxName(name);
  const clientCertificates = flags.clientCert.map((text) => parseClientCertificate(text, host.cwd));
  refuseTwoCertificates(clientCertificates);
  return {
    name,
    command,
    secrets,
    named,
    services: flags.service,
    network: {
      allow: flags.allow,
      deny: flags.deny,
      tunnel: flags.tunnel,
      pins: flags.resolve.map((text) => parseResolve(text)),
      upstreamCaFiles: flags.upstreamCa,
      clientCertificates,
    },
    directory: host.cwd,
    startedAt: new Date(),
    environment,
    workspace: flags.workspace ? host.cwd : null,
    forceWorkspace: flags.forceWorkspace === true,
    gitWritable: flags.gitWritable === true,
    volumes: flags.volume,
    workdir: flags.workdir ?? null,
    limits: {
      memoryBytes: flags.memory === undefined ? undefined : parseMemory(flags.memory),
      cpus: flags.cpus === undefined ? undefined : parseCpus(flags.cpus),
      pids: flags.pids === undefined ? DEFAULT_PIDS : parsePids(flags.pids),
    },
    timeoutMs: flags.timeout === undefined ? null : parseDuration(flags.timeout),
    runtime: flags.runtime ?? null,
    auditFile: flags.audit ?? null,
    stateDirectory: stateDirectory(host.environment),
    timings: flags.timings === true,
  };
}

function readSecret(
  spec: Extract<SecretSpec, { kind: 'bound' }>,
  locations: readonly Location[],
  host: HostContext,
  reporter: Reporter,
): SecretInput {
  for (const warning of spec.warnings) reporter.notice(warning);
  if (spec.value !== undefined) return { env: spec.env, value: spec.value, hosts: spec.hosts };
  const value = host.environment[spec.env];
  if (value === undefined || value === '') {
    throw new SallyportError(
      'SECRET_SOURCE_UNSET',
      `--secret ${spec.env}@…: the host variable ${spec.env} is ${value === undefined ? 'not set' : 'empty'}. Export it, or give the value: --secret ${spec.env}=VALUE@HOST.`,
    );
  }
  return { env: spec.env, value: checkSecretValue(value, spec.env, locations), hosts: spec.hosts };
}

function planEnvironment(flags: RunFlags, host: HostContext): ReadonlyMap<string, string> {
  const environment = new Map<string, string>();
  for (const file of flags.envFile) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      throw new SallyportError(
        'UNREADABLE_FILE',
        `--env-file ${JSON.stringify(file)} cannot be read (${errorCode(error)}). Check the path and its permissions.`,
      );
    }
    for (const [index, written] of text
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/)
      .entries()) {
      const line = written.trimStart();
      if (line === '' || line.startsWith('#')) continue;
      addVariable(environment, line, host, `--env-file ${JSON.stringify(file)}, line ${index + 1}`);
    }
  }
  for (const text of flags.env) addVariable(environment, text, host, '--env');
  return environment;
}

/** Adds `NAME=VALUE`, or `NAME` with the host's value. Messages quote no name without a value: the text may be a part of one. */
function addVariable(environment: Map<string, string>, text: string, host: HostContext, origin: string): void {
  const split = text.indexOf('=');
  const name = split < 0 ? text : text.slice(0, split);
  if (!isEnvironmentName(name)) {
    const shown = origin === '--env' && split >= 0 ? JSON.stringify(name.slice(0, 80)) : 'what stands there';
    throw new SallyportError(
      'INVALID_ENVIRONMENT',
      `${origin}: ${shown} is no variable name (letters, digits and "_", no digit first). Write NAME=VALUE, or NAME to pass the host's.`,
    );
  }
  const value = split < 0 ? host.environment[name] : text.slice(split + 1);
  // As docker run -e does: a variable that the host lacks is not passed.
  if (value === undefined) return;
  if (value.includes('\0')) {
    throw new SallyportError('INVALID_ENVIRONMENT', `${origin}: the value of ${name} holds a NUL. Remove it.`);
  }
  environment.set(name, value);
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown error';
}
