import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { isHostRoot } from '../airlock/host-root.ts';
import { explainForbiddenNamespaces, printable } from '../airlock/namespace-diagnosis.ts';
import { findTool, requireTools, TOOL_ENVIRONMENT, type ToolName } from '../airlock/required-tools.ts';
import { loadKoffi } from '../airlock/system-calls.ts';
import { ownProgram } from '../client/start-daemon.ts';
import { daemonPaths } from '../daemon/paths.ts';
import { planCgroups } from '../sandbox/cgroup.ts';
import { chooseRuntime } from '../sandbox/runtime-choice.ts';
import { readSeccompProfile } from '../sandbox/seccomp.ts';
import { loadUpstreamTrust } from '../tls/upstream-trust.ts';

/** What a check came to. `warn`: everything works but for what it says. */
export interface CheckResult {
  readonly id: string;
  readonly what: string;
  readonly status: 'pass' | 'warn' | 'fail';
  /** What was found; and for anything but `pass`, what to do. */
  readonly detail: string;
}

type Outcome = Pick<CheckResult, 'status' | 'detail'>;

/** One prerequisite. */
export interface Check {
  readonly id: string;
  readonly what: string;
  readonly run: () => Outcome | Promise<Outcome>;
}

/** `pidfd_getfd` is of 5.6, `mount_setattr` of 5.12: by it root's folders get their right owners inside. */
const MIN_KERNEL = [5, 12] as const;
const MIN_NODE_MAJOR = 24;
const TOOLS: readonly ToolName[] = ['unshare', 'nsenter', 'mount', 'ip', 'tar', 'tini', 'conmon'];
/** Logs of commands grow up to 64 MB each. */
const MIN_FREE_BYTES = 256 * 1024 * 1024;
/** How long the sandbox of the last check may take, in ms. */
const TRIAL_TIMEOUT_MS = 60_000;

const pass = (detail: string): Outcome => ({ status: 'pass', detail });
const warn = (detail: string): Outcome => ({ status: 'warn', detail });
const fail = (detail: string): Outcome => ({ status: 'fail', detail });

/** Every prerequisite, in the order in which one would set them right. */
export function listChecks(environment: NodeJS.ProcessEnv): readonly Check[] {
  return [
    { id: 'kernel', what: 'Linux kernel', run: () => checkKernel(process.platform, release()) },
    { id: 'node', what: 'Node', run: () => checkNode(process.versions.node) },
    ...TOOLS.map((tool): Check => ({ id: `tool-${tool}`, what: tool, run: () => pass(requireTools([tool])[tool]) })),
    { id: 'runtime', what: 'OCI runtime', run: checkRuntime },
    { id: 'seccomp', what: 'seccomp profile', run: checkSeccomp },
    { id: 'roots', what: 'root certificates', run: checkRoots },
    { id: 'library', what: 'foreign functions (koffi)', run: checkLibrary },
    { id: 'namespaces', what: 'user namespaces', run: checkNamespaces },
    { id: 'limits', what: 'memory, CPU and process limits', run: checkLimits },
    { id: 'state', what: 'state directory', run: () => checkState(daemonPaths(environment).state) },
    { id: 'sandbox', what: 'a sandbox starts', run: () => tryOut(environment) },
  ];
}

/** Makes the checks, one after the other; one that fails in a way that it did not expect has failed. */
export async function* runChecks(checks: readonly Check[]): AsyncGenerator<CheckResult, void, undefined> {
  for (const { id, what, run } of checks) {
    let outcome: Outcome;
    try {
      outcome = await run();
    } catch (error) {
      outcome = fail(error instanceof SallyportError ? error.message : 'This check itself failed, which is a defect.');
    }
    yield { id, what, ...outcome };
  }
}

/** @param version as `uname -r` says it. */
export function checkKernel(platform: string, version: string): Outcome {
  if (platform !== 'linux') return fail(`This is ${platform}; sandboxes need Linux. A Linux machine or VM is the way.`);
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const [wantedMajor, wantedMinor] = MIN_KERNEL;
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return pass(version);
  return fail(`${version}; ${wantedMajor}.${wantedMinor} or newer is needed. Boot a newer kernel.`);
}

/** @param version without its `v`. */
export function checkNode(version: string): Outcome {
  if (Number.parseInt(version, 10) >= MIN_NODE_MAJOR) return pass(version);
  return fail(`${version}; Node ${MIN_NODE_MAJOR} or newer is needed.`);
}

function checkRuntime(): Outcome {
  const { path, notices } = chooseRuntime('runc', '/');
  const others = ['crun', 'runsc'].filter((name) => findTool(name) !== undefined);
  return pass([path, ...others.map((name) => `also ${name}`), ...notices].join(', '));
}

function checkSeccomp(): Outcome {
  readSeccompProfile();
  return pass('found');
}

async function checkRoots(): Promise<Outcome> {
  const { source } = await loadUpstreamTrust({ extraCaFiles: [] });
  if (source !== 'node') return pass(source);
  return warn('The system has none; those that Node brings are used. Install the package ca-certificates.');
}

function checkLibrary(): Outcome {
  loadKoffi();
  return pass('loaded');
}

async function checkNamespaces(): Promise<Outcome> {
  const { unshare } = requireTools(['unshare']);
  const { status, said } = await execute(
    unshare,
    ['--user', '--map-root-user', '--mount', '--net', '--pid', '--ipc', '--uts', '--fork', 'true'],
    TOOL_ENVIRONMENT,
  );
  if (status === 0) return pass('can be made');
  return fail(explainForbiddenNamespaces(isHostRoot()) ?? `They cannot be made: ${said}`);
}

function checkLimits(): Outcome {
  const { groups } = planCgroups('sallyport-doctor');
  const found = new Set(groups.flatMap(({ controllers }) => controllers));
  const missing = (['memory', 'cpu', 'pids'] as const).filter((controller) => !found.has(controller));
  if (missing.length === 0) return pass('control groups can be made');
  return warn(
    `No control group of this account's has: ${missing.join(', ')}; such limits cannot be kept to. ` +
      'Under systemd: run it in a user session with delegation ("systemd-run --user --scope -p Delegate=yes sallyport …").',
  );
}

function checkState(directory: string): Outcome {
  let existing = directory;
  while (!existsSync(existing)) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK | constants.X_OK);
  } catch {
    return fail(
      `${JSON.stringify(existing)} cannot be written to. Make it writable, or name another place with XDG_STATE_HOME.`,
    );
  }
  if (existing === directory) {
    const { uid, mode } = statSync(directory);
    if (uid !== process.geteuid?.()) return fail(`${JSON.stringify(directory)} belongs to somebody else.`);
    if ((mode & 0o077) !== 0) return fail(`Others can enter ${JSON.stringify(directory)}. Run: chmod 700 ${directory}`);
  }
  const { bavail, bsize } = statfsSync(existing);
  if (bavail * bsize < MIN_FREE_BYTES) {
    return warn(`${directory}: the disk has less than ${MIN_FREE_BYTES / 1024 / 1024} MB left. Make room.`);
  }
  return pass(directory);
}

/** All of it together: a sandbox in which nothing happens. */
async function tryOut(environment: NodeJS.ProcessEnv): Promise<Outcome> {
  const { execPath, execArgv, main } = ownProgram();
  const startedAtMs = performance.now();
  const { status, said } = await execute(
    execPath,
    [...execArgv, '--', main, 'run', '--quiet', '--no-workspace', '--', 'true'],
    environment,
  );
  if (status === 0) return pass(`in ${Math.round(performance.now() - startedAtMs)} ms, its end included`);
  return fail(said === '' ? `It ended with status ${status ?? 'none'}.` : said);
}

async function execute(
  program: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<{ readonly status: number | null; readonly said: string }> {
  const child = spawn(program, words, {
    cwd: '/',
    env: { ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: TRIAL_TIMEOUT_MS,
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(0, 4096)));
  const status = await new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(null));
    child.once('close', (code) => resolve(code));
  });
  return { status, said: printable(said) };
}
