import { existsSync, watch as watchFiles } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { Airlock } from '../airlock/airlock.ts';
import { denyCoreDumps } from '../airlock/system-calls.ts';
import { requireTools } from '../airlock/required-tools.ts';
import { AuditLog } from '../audit/audit-log.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import { listeningPorts } from '../policy/network-policy.ts';
import type { RunningSandbox, SandboxSpec } from '../sandbox/backend.ts';
import { launchSandbox, type SandboxLaunch } from '../sandbox/sandbox.ts';
import { parseVolume } from '../sandbox/volumes.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import type { ClientCertificate } from '../tls/client-certificate.ts';
import { loadUpstreamTrust } from '../tls/upstream-trust.ts';
import { checkAuditFile, createStateDirectory } from './audit-file.ts';
import { refuseVisibleKey } from './client-key.ts';
import { installationDirectory } from './installation.ts';
import type { HeadStart } from './head-start.ts';
import type { OpenGate } from './open-gate.ts';
import type { RunPlan } from './plan.ts';
import type { Enforce, RunSecrets } from './run-secrets.ts';
import { BOOK_FILE, RunRules } from './run-rules.ts';
import { compilePolicy, makeTrustFiles, type PolicySources } from './sandbox-parts.ts';
import { WaitingRoom } from './waiting-room.ts';

/** Signals that are the command's, not ours. SIGKILL cannot be passed on; SIGWINCH reaches a terminal through the runtime. */
const FORWARDED_SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];
/** After its time limit a command gets SIGTERM, and SIGKILL this many milliseconds later. */
const KILL_AFTER_MS = 10_000;
/** The longest delay that a timer takes; longer limits never pass in practice. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Where a run tells people what happens. */
export interface RunReporter {
  notice(text: string): void;
  detail(text: string): void;
}

/** The exit status of a run that was ended because of what was done with a placeholder. */
const MISUSE_STATUS = 123;

/**
 * Runs one command in a sandbox of its own, from plan to clean-up. Resolves to the exit status: the command's own, 128 and the signal, or
 * 123 when a placeholder was sent where its secret says that this ends the sandbox.
 *
 * @param headStart is the caller's to close where this fails early.
 * @throws SallyportError for whatever keeps the sandbox from starting, and AUDIT_FAILED when events were lost; nothing is left behind.
 */
export async function runPlan(asked: RunPlan, reporter: RunReporter, headStart: HeadStart): Promise<number> {
  if (!hasFurtherSecrets(asked)) return await runWith(asked, null, reporter, headStart);
  const further = await headStart.milestones.after('secrets read', openFurtherSecrets(asked));
  try {
    const plan = { ...asked, secrets: further.secrets.set };
    refuseExposure(plan.secrets, plan.command, plan.environment);
    for (const notice of further.secrets.notices) reporter.notice(notice);
    return await runWith(plan, further, reporter, headStart);
  } finally {
    await further.close();
  }
}

/** Whether there may be secrets beside those of the plan's own options: nothing of them is loaded otherwise. */
function hasFurtherSecrets({ named, services, stateDirectory }: RunPlan): boolean {
  return named.length + services.length > 0 || existsSync(join(stateDirectory, BOOK_FILE));
}

async function openFurtherSecrets(plan: RunPlan): Promise<RunSecrets> {
  const { RunSecrets: Secrets } = await import('./run-secrets.ts');
  return await Secrets.open(plan, process.env);
}

/** Takes stored secrets in when the first one is ever stored. */
function followLater(plan: RunPlan, take: Enforce, onProblem: (problem: string) => void): { close(): Promise<void> } {
  let opening: Promise<RunSecrets> | null = null;
  const begin = async (secrets: Promise<RunSecrets>): Promise<void> => {
    const opened = await secrets;
    await take(opened.secrets, opened.provider);
    await opened.follow(take, onProblem);
  };
  const watch = watchFiles(plan.stateDirectory, { persistent: false }, () => {
    if (opening !== null || !hasFurtherSecrets(plan)) return;
    watch.close();
    opening = openFurtherSecrets(plan);
    begin(opening).catch((error: unknown) =>
      onProblem(error instanceof SallyportError ? error.message : 'it could not be taken in, which is a defect.'),
    );
  });
  watch.on('error', () => watch.close());
  return {
    async close() {
      watch.close();
      await opening?.then(
        async (secrets) => await secrets.close(),
        () => undefined,
      );
    },
  };
}

async function runWith(
  plan: RunPlan,
  further: RunSecrets | null,
  reporter: RunReporter,
  headStart: HeadStart,
): Promise<number> {
  const rules = await RunRules.open(plan.stateDirectory, plan.name);
  try {
    return await runByRules(plan, further, rules, reporter, headStart);
  } finally {
    rules.close();
  }
}

async function runByRules(
  plan: RunPlan,
  further: RunSecrets | null,
  rules: RunRules,
  reporter: RunReporter,
  headStart: HeadStart,
): Promise<number> {
  const { milestones, opening } = headStart;
  const policy = compilePolicy({ ...plan, stored: rules.stored });
  const clientCertificates = await loadClientCertificates(plan);
  for (const warning of policy.warnings) reporter.notice(warning);
  const auditFile = plan.auditFile ?? join(plan.stateDirectory, 'audit', `${auditFileName(plan)}.jsonl`);
  const spec: SandboxSpec = {
    name: plan.name,
    command: plan.command,
    environment: sandboxEnvironment(plan, further),
    workspace: plan.workspace ?? undefined,
    workingDirectory: plan.workdir ?? undefined,
    forceWorkspace: plan.forceWorkspace,
    gitWritable: plan.gitWritable,
    volumes: plan.volumes.map((text) => parseVolume(text, plan.directory)),
    limits: plan.limits,
    protectedPaths: [
      plan.stateDirectory,
      auditFile,
      installationDirectory(),
      ...plan.network.clientCertificates.map(({ keyFile }) => keyFile),
    ],
  };
  const { openssl } = requireTools(['openssl']);
  createStateDirectory(plan.stateDirectory);
  // The default place is in the state directory, which is refused or hidden as a whole.
  if (plan.auditFile !== null) checkAuditFile(auditFile, plan.directory, spec);
  const signals = new SignalQueue();
  // The namespaces are made while this process loads certificates and opens the log.
  const authority = milestones.after(
    'CA',
    CertificateAuthority.create({ openssl, commonName: `Sallyport sandbox ${plan.name}` }),
  );
  const trust = milestones.after('trust', loadUpstreamTrust({ extraCaFiles: plan.network.upstreamCaFiles }));
  const trustFiles = makeTrustFiles(authority, trust);
  // Awaited late, or not at all where the launch fails first.
  trustFiles.catch(() => undefined);
  trust.catch(() => undefined);
  let launch: SandboxLaunch | undefined;
  let gate: OpenGate | undefined;
  let waitingRoom: WaitingRoom | undefined;
  let late: { close(): Promise<void> } | undefined;
  let isOver = false;
  const misused: string[] = [];
  let audit: Promise<AuditLog> | undefined;
  try {
    launch = launchSandbox(
      spec,
      {
        opening,
        ports: listeningPorts(policy),
        directory: plan.directory,
        ...(plan.runtime === null ? {} : { runtime: plan.runtime }),
      },
      trustFiles,
    );
    audit = milestones.after(
      'audit log',
      openAudit(plan, auditFile, () => gate?.close()),
    );
    const [parts, airlock] = await Promise.all([Promise.all([authority, trust, audit]), launch.airlock]);
    const room = new WaitingRoom(airlock);
    waitingRoom = room;
    const running = await launch.start();
    // The largest part of the program, loaded when this process has nothing to do but to wait for the runtime.
    const attached = milestones.after('gate loaded', loadGate()).then(async ({ openGate }) => {
      if (isOver) return;
      const opened = openGate({
        policy,
        secrets: further?.secrets.set ?? plan.secrets,
        provider: further?.provider ?? null,
        authority: parts[0],
        trust: parts[1],
        clientCertificates,
        audit: parts[2],
        onTerminate: (secret) => {
          misused.push(secret);
          gate?.close();
          void running.signal('SIGKILL').catch(() => undefined);
        },
      });
      gate = opened;
      opened.serve(airlock);
      const first = { secrets: further?.secrets.set ?? plan.secrets, provider: further?.provider ?? null };
      const enforce = enforceInTurn(first, async (inForce) => {
        await takeChange({ ...plan, stored: rules.stored }, inForce, airlock, opened);
      });
      const onProblem = (problem: string): void =>
        reporter.notice(`what is stored has changed, but not for this sandbox: ${problem}`);
      await rules.follow(async () => await enforce({}), onProblem);
      const take: Enforce = async ({ set: secrets }, provider) => await enforce({ secrets, provider });
      if (further === null) late = followLater(plan, take, onProblem);
      else await further.follow(take, onProblem);
      room.open();
      if (opensTls(plan)) parts[0].prepare();
      denyCoreDumps();
      // Blocks for 10 ms, better here than at the first request.
      if (hasDestinations(plan) || rules.stored.length > 0) setImmediate(() => parts[1].context());
    });
    attached.catch(() => undefined);
    for (const notice of running.notices) reporter.notice(notice);
    reporter.detail(`sandbox ${plan.name} runs; audit events go to ${auditFile}`);
    const ended = superviseCommand(running, signals, plan.timeoutMs, reporter);
    // A gate that cannot be attached ends the run; one that is late does not.
    const status = await Promise.race([ended, attached.then(() => ended)]);
    for (const [phase, atMs] of Object.entries({ ...airlock.timings, ...running.timings }))
      milestones.mark(phase, atMs);
    milestones.mark('command');
    if (status.outOfMemory)
      reporter.notice('the kernel ended a process of the sandbox because the memory limit was reached');
    const [secret] = misused;
    if (secret !== undefined) {
      reporter.notice(`the sandbox was ended: the placeholder of ${secret} was sent where it is not for`);
      return MISUSE_STATUS;
    }
    return status.code;
  } finally {
    isOver = true;
    signals.close();
    waitingRoom?.close();
    // No credential leaves from here on; then everything inside ends.
    gate?.close();
    await late?.close();
    await launch?.close();
    await audit?.then(
      (log) => log.close(),
      () => undefined, // Why it could not be opened is what this function throws.
    );
    await authority.then(
      (made) => made.close(),
      () => undefined,
    );
    await Promise.allSettled([trust]);
    milestones.mark('clean-up');
  }
}

/** Whether the command may reach anything at all. */
function hasDestinations({ secrets, network }: RunPlan): boolean {
  return opensTls({ secrets, network }) || network.allow.length + network.tunnel.length > 0;
}

/** Whether TLS is opened as a rule, and not only to say what is denied. */
function opensTls({ secrets, network }: Pick<RunPlan, 'secrets' | 'network'>): boolean {
  return secrets.secrets.length + secrets.services.length + network.clientCertificates.length > 0;
}

/** Nothing of TLS is loaded for runs without one. */
async function loadClientCertificates(plan: RunPlan): Promise<readonly ClientCertificate[]> {
  const specs = plan.network.clientCertificates;
  if (specs.length === 0) return [];
  for (const spec of specs) refuseVisibleKey(spec);
  const { loadClientCertificate } = await import('../tls/client-certificate.ts');
  return await Promise.all(specs.map((spec) => loadClientCertificate(spec, plan.startedAt.getTime())));
}

/** In parts, or the airlock would wait for this process's answers. */
async function loadGate(): Promise<typeof import('./open-gate.ts')> {
  await import('../dns/server.ts');
  await nextTurn();
  await import('../http/body-decoder.ts');
  await nextTurn();
  await import('../secrets/redact.ts');
  await nextTurn();
  await import('../gate/exchange.ts');
  await nextTurn();
  return await import('./open-gate.ts');
}

async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

function sandboxEnvironment(plan: RunPlan, further: RunSecrets | null): Record<string, string> {
  const environment = Object.fromEntries(plan.environment);
  for (const secret of plan.secrets.secrets) environment[secret.env] = secret.placeholder;
  for (const [name, text] of further?.secrets.variables ?? []) environment[name] = text;
  return environment;
}

/** What of a gate's rules comes from secrets. */
interface SecretsInForce {
  readonly secrets: SecretSet;
  readonly provider: ValueProvider | null;
}

/** Puts changes into force one after the other, each on top of the one before: none may bring back what another has taken away. */
function enforceInTurn(
  first: SecretsInForce,
  put: (inForce: SecretsInForce) => Promise<void>,
): (change: Partial<SecretsInForce>) => Promise<void> {
  let inForce = first;
  let queue = Promise.resolve();
  return async (change) => {
    const turn = queue.then(async () => {
      const next = { ...inForce, ...change };
      await put(next);
      inForce = next;
    });
    queue = turn.catch(() => undefined);
    await turn;
  };
}

/** Takes other rules or secrets, for requests that begin from now on. */
async function takeChange(
  sources: PolicySources,
  { secrets, provider }: SecretsInForce,
  airlock: Airlock,
  gate: OpenGate,
): Promise<void> {
  const policy = compilePolicy({ ...sources, secrets });
  const missing = listeningPorts(policy).filter((port) => !airlock.servers.has(port));
  const opened = missing.length === 0 ? undefined : await airlock.openPorts(missing);
  gate.reconfigure({ policy, secrets, closed: null, provider });
  if (opened !== undefined) gate.serve({ servers: opened });
}

/** One file a run, so that runs do not wait for each other; sorted by time in a listing. */
function auditFileName(plan: RunPlan): string {
  return `${plan.startedAt.toISOString().replaceAll(':', '').replace('.', '')}-${plan.name}`;
}

async function openAudit(plan: RunPlan, file: string, onFailure: () => void): Promise<AuditLog> {
  return AuditLog.open({ file, stateDirectory: plan.stateDirectory, sandbox: plan.name, onFailure });
}

async function superviseCommand(
  running: RunningSandbox,
  signals: SignalQueue,
  timeoutMs: number | null,
  reporter: RunReporter,
): Promise<Awaited<ReturnType<RunningSandbox['wait']>>> {
  signals.deliver((signal) => void running.signal(signal).catch(() => undefined));
  const timers: NodeJS.Timeout[] = [];
  if (timeoutMs !== null) {
    const end = (): void => {
      reporter.notice('the time limit has passed; the command is ended');
      void running.signal('SIGTERM').catch(() => undefined);
      timers.push(setTimeout(() => void running.signal('SIGKILL').catch(() => undefined), KILL_AFTER_MS));
    };
    timers.push(setTimeout(end, Math.min(timeoutMs, MAX_TIMER_MS)));
  }
  try {
    return await running.wait();
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

/** Keeps signals that come before the command runs, then passes each on. */
class SignalQueue {
  readonly #early: NodeJS.Signals[] = [];
  #receiver: ((signal: NodeJS.Signals) => void) | null = null;
  readonly #listener = (signal: NodeJS.Signals): void => {
    if (this.#receiver === null) this.#early.push(signal);
    else this.#receiver(signal);
  };

  constructor() {
    for (const signal of FORWARDED_SIGNALS) process.on(signal, this.#listener);
  }

  deliver(receiver: (signal: NodeJS.Signals) => void): void {
    this.#receiver = receiver;
    for (const signal of this.#early.splice(0)) receiver(signal);
  }

  close(): void {
    for (const signal of FORWARDED_SIGNALS) process.removeListener(signal, this.#listener);
  }
}
