import { chmodSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { describeApi } from '@sallyport/sdk/api';
import { SallyportError, type DaemonEvent, type DaemonStatus, type DaemonStop } from '@sallyport/sdk';
import { denyCoreDumps } from '../airlock/system-calls.ts';
import { createStateDirectory } from '../engine/audit-file.ts';
import { defaultGateThreads, GateThreads } from '../engine/gate-threads.ts';
import { requireRegularFile } from '../engine/regular-file.ts';
import { SecretSources } from '../engine/secret-sources.ts';
import { loadUpstreamTrust, type UpstreamTrust } from '../tls/upstream-trust.ts';
import { execHandlers } from './api/execs.ts';
import { json, type Handler } from './api/exchange.ts';
import { fileHandlers } from './api/files.ts';
import { observationHandlers } from './api/observation.ts';
import { sandboxHandlers } from './api/sandboxes.ts';
import { secretHandlers } from './api/secrets.ts';
import { storedRuleHandlers } from './api/stored-rules.ts';
import { storedSecretHandlers } from './api/stored-secrets.ts';
import { createApiServer } from './api/server.ts';
import { takeDaemonLock } from './lock.ts';
import type { DaemonPaths } from './paths.ts';
import { SandboxRegistry } from './registry.ts';
import { RuleShelf } from './rule-shelf.ts';
import { SecretShelf } from './secret-shelf.ts';
import { openDatabase } from './store/database.ts';
import { EventTable } from './store/event-table.ts';
import { ExecTable } from './store/exec-table.ts';
import { SandboxTable } from './store/sandbox-table.ts';
import { Turnstile } from './turnstile.ts';

/** How many sandboxes are prepared before somebody asks. */
const DEFAULT_WARM_SANDBOXES = 2;
/** Commands that are started at a time, on however few processors. */
const MIN_PARALLEL_STARTS = 4;
/** Clients that may wait to be accepted: one that comes in a crowd is not to be turned away. */
const BACKLOG_CONNECTIONS = 4096;
/** How long open answers have when the daemon stops, in ms. */
const GRACE_MS = 2_000;

/** What {@link runDaemon} needs. */
export interface DaemonOptions {
  readonly paths: DaemonPaths;
  readonly version: string;
  /** Default {@link DEFAULT_WARM_SANDBOXES}. */
  readonly warmSandboxes?: number;
  /**
   * How many threads share out the gates of sandboxes, all from the start; 0 for none. Default: up to `defaultGateThreads` of this machine, as
   * many as sandboxes run.
   */
  readonly workers?: number;
  /** One line for the log. */
  readonly log: (line: string) => void;
  /** Aborted by whoever wants the daemon to end; sandboxes go on. */
  readonly signal: AbortSignal;
}

/**
 * Is the daemon, until somebody stops it. Resolves when it has ended: to false when another process is the daemon already.
 *
 * @throws SallyportError for whatever keeps it from starting.
 */
export async function runDaemon(options: DaemonOptions): Promise<boolean> {
  const { paths, log } = options;
  createStateDirectory(paths.state);
  for (const directory of [paths.directory, paths.sandboxes]) makePrivate(directory);
  if (!existsSync(dirname(paths.socket))) mkdirSync(dirname(paths.socket), { recursive: true, mode: 0o700 });
  const lock = takeDaemonLock(paths.lock);
  if (lock === null) return false;
  // Before there is a value in it.
  denyCoreDumps();
  const startedAt = Date.now();
  const database = openDatabase(paths.database);
  const events = new EventTable(database);
  const onDefect = (error: unknown): void => log(describeDefect(error));
  const shelf = await SecretShelf.open({
    stateDirectory: paths.state,
    environment: process.env,
    // Whoever asks through this daemon is answered when it is in force; this is for what other processes change.
    onChange: () => void registry.applyStored().catch(onDefect),
  });
  const rules = RuleShelf.open({
    stateDirectory: paths.state,
    // Whoever changes them through this daemon is answered when they are in force; this is for what other processes change.
    onChange: () => void registry.applyRules().catch(onDefect),
  });
  const sources = new SecretSources(process.env);
  const gates = new GateThreads({
    limit: options.workers ?? defaultGateThreads(availableParallelism()),
    isEager: options.workers !== undefined,
    onLoss: (count) => log(`a thread of gates has ended; ${count} gates are opened anew`),
  });
  const registry: SandboxRegistry = new SandboxRegistry(
    {
      paths,
      shelf,
      rules,
      sources,
      sandboxes: new SandboxTable(database),
      execs: new ExecTable(database),
      tell: (event: Omit<DaemonEvent, 'id' | 'time'>) => {
        try {
          events.add(event);
        } catch (error) {
          onDefect(error);
        }
      },
      gates,
      trust: trustCache(),
      starts: new Turnstile(Math.max(MIN_PARALLEL_STARTS, availableParallelism())),
    },
    options.warmSandboxes ?? DEFAULT_WARM_SANDBOXES,
  );
  await registry.recover();
  const stopping = new AbortController();
  const stop = Promise.withResolvers<DaemonStop>();
  options.signal.addEventListener('abort', () => stop.resolve({}), { once: true });
  const status = (): DaemonStatus => ({
    version: options.version,
    api: 'v1',
    pid: process.pid,
    startedAt: new Date(startedAt).toISOString(),
    sandboxes: registry.all.length,
    runningSandboxes: registry.all.filter(({ isRunning }) => isRunning).length,
    runningExecs: registry.all.reduce((sum, { runningExecs }) => sum + runningExecs, 0),
    warmAirlocks: registry.warmCount,
    memoryBytes: process.memoryUsage.rss(),
    stateDirectory: paths.state,
    logFile: paths.log,
  });
  const server = createApiServer({
    handlers: {
      getOpenApi: async () => json(describeApi()),
      getDaemon: async () => json(status()),
      async stopDaemon({ body }) {
        // After the answer.
        setImmediate(() => stop.resolve(body as DaemonStop));
        return json(status());
      },
      ...sandboxHandlers(registry),
      ...execHandlers(registry),
      ...secretHandlers(registry),
      ...storedSecretHandlers(registry, shelf),
      ...storedRuleHandlers(registry, rules),
      ...fileHandlers(registry),
      ...observationHandlers(registry, events),
    } satisfies Record<string, Handler>,
    signal: stopping.signal,
    onDefect,
  });
  await listen(server, paths.socket);
  log(`the daemon runs, process ${process.pid}, socket ${JSON.stringify(paths.socket)}`);
  registry.warmUp();
  const { sandboxes = false } = await stop.promise;
  log(sandboxes ? 'the daemon stops, and its sandboxes' : 'the daemon stops');
  await closeServer(server, stopping);
  await registry.close(sandboxes);
  await gates.close();
  sources.close();
  await shelf.close();
  rules.close();
  rmSync(paths.socket, { force: true });
  database.close();
  lock.release();
  return true;
}

function makePrivate(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = statSync(directory);
  if (uid !== process.geteuid?.()) {
    throw new SallyportError('STATE_FAILED', `The directory ${JSON.stringify(directory)} belongs to somebody else.`);
  }
  if ((mode & 0o077) !== 0) chmodSync(directory, 0o700);
}

/** Roots are read once for each set of files. */
function trustCache(): (files: readonly string[]) => Promise<UpstreamTrust> {
  const loaded = new Map<string, Promise<UpstreamTrust>>();
  return async (files) => {
    const key = JSON.stringify(files);
    const known = loaded.get(key);
    if (known !== undefined) return await known;
    for (const file of files) requireRegularFile(file, 'upstream CA');
    const loading = loadUpstreamTrust({ extraCaFiles: files });
    // Files of the user's own may change; the system's are read again when the daemon is.
    if (files.length === 0) loaded.set(key, loading);
    loading.catch(() => loaded.delete(key));
    return await loading;
  };
}

async function listen(server: Server, path: string): Promise<void> {
  // Whoever holds the lock may remove the socket of a daemon that was killed.
  rmSync(path, { force: true });
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path, backlog: BACKLOG_CONNECTIONS }, () => resolve());
    });
  } catch (cause) {
    throw new SallyportError('STATE_FAILED', `The daemon cannot listen at ${JSON.stringify(path)}.`, { cause });
  } finally {
    process.umask(before);
  }
  chmodSync(path, 0o600);
}

async function closeServer(server: Server, stopping: AbortController): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  stopping.abort();
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), GRACE_MS);
  await closed;
  clearTimeout(timer);
}

/** What a defect was, without what it may quote. */
function describeDefect(error: unknown): string {
  if (error instanceof SallyportError) return `${error.code}: ${error.message}`;
  if (!(error instanceof Error)) return `defect: ${typeof error}`;
  const frames = error.stack?.split('\n').filter((line) => line.trimStart().startsWith('at ')) ?? [];
  return `defect: ${error.name} ${frames.slice(0, 5).join(' ').trim()}`;
}
