// A daemon that is asked for everything at once, by several clients, and killed at any moment.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  SallyportError,
  type ErrorCode,
  type ExecInfo,
  type Policy,
  type SandboxInfo,
  type SecretInfo,
} from '@sallyport/sdk';
import { findPresentCaller } from './harness/caller.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';

/** What a client was told of one sandbox. What was asked for without an answer may be so or not: then nothing is known. */
interface Known {
  /** `gone`: there was none, or it was removed. */
  state: 'gone' | 'running' | 'stopped' | 'unknown';
  rules: Set<string> | 'unknown';
  /** Names of secrets; their values are as long as the sandbox runs. */
  secrets: Set<string> | 'unknown';
  /** What a command that has ended wrote, by its id. */
  readonly outputs: Map<string, string>;
}

/** What an operation may be refused with: others of the same sandbox are under way. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'SANDBOX_NOT_FOUND',
  'SANDBOX_EXISTS',
  'SANDBOX_RUNNING',
  'SANDBOX_NOT_RUNNING',
  'SANDBOX_BUSY',
  'SECRET_NOT_FOUND',
  'RULE_NOT_FOUND',
  'EXEC_ENDED',
  'EXEC_NOT_FOUND',
  'FILE_NOT_FOUND',
]);
/** The daemon was killed under way, or was not there. */
const AWAY: ReadonlySet<ErrorCode> = new Set(['DAEMON_UNREACHABLE', 'DAEMON_STOPPING']);

const ROUNDS = Number(process.env['SALLYPORT_TEST_KILLS'] ?? 6);
const CLIENTS = 3;

/** One client, who alone changes its sandbox. */
class Client {
  readonly name: string;
  readonly known: Known = { state: 'gone', rules: new Set(), secrets: new Set(), outputs: new Map() };
  readonly #scene: DaemonScene;
  #count = 0;

  constructor(scene: DaemonScene, name: string) {
    this.#scene = scene;
    this.name = name;
  }

  /** Does one thing after the other until the daemon is away. Returns what should not have happened. */
  async work(): Promise<string | undefined> {
    for (;;) {
      const operation = this.#pick();
      try {
        await operation.act();
      } catch (error) {
        if (!(error instanceof SallyportError)) return `${operation.what}: ${String(error)}`;
        if (AWAY.has(error.code)) {
          operation.forget();
          return undefined;
        }
        return `${operation.what}: ${error.code}: ${error.message}`;
      }
    }
  }

  #pick(): { readonly what: string; act(): Promise<void>; forget(): void } {
    const { known, name } = this;
    const scene = this.#scene;
    const path = `/v1/sandboxes/${name}`;
    const forgetState = (): void => void (known.state = 'unknown');
    const count = (this.#count += 1);
    if (known.state === 'gone') {
      return {
        what: 'create',
        forget: forgetState,
        async act() {
          // What was known is of another that had this name.
          Object.assign(known, { rules: new Set(), secrets: new Set() });
          known.outputs.clear();
          await scene.create({ name, ...(count % 2 === 0 ? {} : { env: { A: 'b' } }) });
          known.state = 'running';
        },
      };
    }
    if (known.state === 'stopped') {
      return {
        what: 'start',
        forget: forgetState,
        async act() {
          await scene.client.ask({ method: 'POST', path: `${path}/start` });
          known.state = 'running';
        },
      };
    }
    const dice = Math.random();
    if (dice < 0.5) {
      const text = `${name} ${count}\n`;
      return {
        what: 'exec',
        forget: () => undefined,
        async act() {
          const { exitCode, stdout, events } = await scene.exec(name, [
            'sh',
            '-c',
            'printf %s "$1"; exit 3',
            'sh',
            text,
          ]);
          assert.deepEqual([exitCode, stdout], [3, text]);
          const [started] = events;
          assert.ok(started?.type === 'started');
          known.outputs.set(started.exec.id, text);
        },
      };
    }
    if (dice < 0.7) {
      const host = `h${count}.example`;
      return {
        what: 'rule',
        forget: () => void (known.rules = 'unknown'),
        async act() {
          await scene.client.ask({ method: 'POST', path: `${path}/policy/rules`, body: { action: 'allow', host } });
          if (known.rules !== 'unknown') known.rules.add(host);
        },
      };
    }
    if (dice < 0.85) {
      const secret = `S${count}`;
      return {
        what: 'secret',
        forget: () => void (known.secrets = 'unknown'),
        async act() {
          const body = { value: `value-of-${secret}-4711`, allowHosts: [`${secret.toLowerCase()}.example`] };
          await scene.client.ask({ method: 'PUT', path: `${path}/secrets/${secret}`, body });
          if (known.secrets !== 'unknown') known.secrets.add(secret);
        },
      };
    }
    const isRemoval = dice >= 0.93;
    return {
      what: isRemoval ? 'remove' : 'stop',
      forget: forgetState,
      async act() {
        if (isRemoval) await scene.client.ask({ method: 'DELETE', path: `${path}?force=true` });
        else await scene.client.ask({ method: 'POST', path: `${path}/stop`, body: { timeoutMs: 0 } });
        known.state = isRemoval ? 'gone' : 'stopped';
      },
    };
  }

  /** Holds what there is against what was acknowledged, and takes it for known. */
  async check(): Promise<void> {
    const { known, name } = this;
    const { client } = this.#scene;
    const path = `/v1/sandboxes/${name}`;
    const info = await client.ask<SandboxInfo>({ method: 'GET', path }).catch((error: unknown) => {
      if (error instanceof SallyportError && error.code === 'SANDBOX_NOT_FOUND') return null;
      throw error;
    });
    const wasUnknown = known.state === 'unknown';
    if (wasUnknown) {
      if (info === null) known.state = 'gone';
      else if (info.state === 'running') known.state = 'running';
      else {
        assert.ok(['stopped', 'failed', 'created'].includes(info.state), `${name} is ${info.state}`);
        known.state = 'stopped';
      }
    }
    if (known.state === 'gone') {
      assert.equal(info, null, `${name} was removed`);
      return;
    }
    assert.ok(info !== null, `${name} was acknowledged`);
    const isSo = info.state === known.state || (known.state === 'stopped' && info.state === 'failed' && wasUnknown);
    assert.ok(isSo, `${name} was ${known.state} and is ${info.state}: ${info.reason}`);
    if (info.state === 'failed') assert.match(info.reason ?? '', /./);
    const policy = await client.ask<Policy>({ method: 'GET', path: `${path}/policy` });
    if (known.rules !== 'unknown') {
      for (const rule of known.rules) assert.ok(policy.allow.includes(rule), `${name}: the rule for ${rule}`);
    }
    known.rules = new Set(policy.allow);
    const { secrets } = await client.ask<{ secrets: SecretInfo[] }>({ method: 'GET', path: `${path}/secrets` });
    if (known.secrets !== 'unknown') {
      for (const secret of known.secrets) {
        const found = secrets.find((each) => each.name === secret);
        assert.ok(found !== undefined, `${name}: the secret ${secret}`);
        // A stopped sandbox keeps no values without a daemon.
        if (info.state === 'running' && info.gate === 'open')
          assert.ok(found.available, `${name}: the value of ${secret}`);
      }
    }
    known.secrets = new Set(secrets.map((secret) => secret.name));
    const { execs } = await client.ask<{ execs: ExecInfo[] }>({ method: 'GET', path: `${path}/execs` });
    for (const [id, text] of known.outputs) {
      assert.equal(execs.find((exec) => exec.id === id)?.exitCode, 3, `${name}: the command ${id}`);
      let stdout = '';
      for await (const { data } of client.events({ method: 'GET', path: `${path}/logs?exec=${id}` }))
        stdout += Buffer.from((JSON.parse(data) as { data: string }).data, 'base64').toString();
      assert.equal(stdout, text, `${name}: what ${id} wrote`);
    }
    assert.ok(execs.every(({ state }) => state !== 'starting') || info.state === 'running');
  }
}

test(
  'whatever was acknowledged is so after kill -9 at any moment, and nothing fails for a reason of our own',
  { timeout: 600_000 },
  async (context) => {
    await using scene = await createDaemonScene(findPresentCaller(), 1);
    const clients = Array.from({ length: CLIENTS }, (_, index) => new Client(scene, `chaos-${index}`));
    for (let round = 0; round < ROUNDS; round += 1) {
      const work = Promise.all(clients.map(async (client) => await client.work()));
      await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 2_500));
      await scene.killDaemon();
      const failures = await work;
      assert.deepEqual(
        failures.filter((failure) => failure !== undefined),
        [],
        `round ${round}`,
      );
      await scene.startDaemon();
      for (const client of clients) await client.check();
    }
    context.diagnostic(`${ROUNDS} kills`);
    for (const { name, known } of clients)
      if (known.state !== 'gone')
        await scene.client.ask({ method: 'DELETE', path: `/v1/sandboxes/${name}?force=true` });
    assert.ok(readdirSync(join(scene.stateDirectory, 'sandboxes')).length <= 1, 'nothing but what is prepared is left');
    assert.doesNotMatch(readFileSync(join(scene.stateDirectory, 'daemon/log'), 'utf8'), /defect/);
  },
);

test(
  'clients that change the same sandboxes at once are told what is so, and leave nothing half done',
  { timeout: 300_000 },
  async () => {
    await using scene = await createDaemonScene(findPresentCaller(), 1);
    const { client } = scene;
    const names = ['one', 'two'];
    const pick = (): string => names[Math.floor(Math.random() * names.length)] ?? 'one';
    const secret = (): object => ({ value: `value-${Math.random()}-4711`, allowHosts: ['x.example'] });
    const operations: (() => Promise<unknown>)[] = [
      async () => await scene.create({ name: pick() }),
      async () => await client.ask({ method: 'POST', path: `/v1/sandboxes/${pick()}/start` }),
      async () => await client.ask({ method: 'POST', path: `/v1/sandboxes/${pick()}/stop`, body: { timeoutMs: 0 } }),
      async () => await client.ask({ method: 'POST', path: `/v1/sandboxes/${pick()}/kill` }),
      async () => await client.ask({ method: 'DELETE', path: `/v1/sandboxes/${pick()}?force=${Math.random() < 0.7}` }),
      async () => await client.ask({ method: 'PUT', path: `/v1/sandboxes/${pick()}/secrets/T`, body: secret() }),
      async () => await client.ask({ method: 'DELETE', path: `/v1/sandboxes/${pick()}/secrets/T` }),
      async () =>
        await client.ask({
          method: 'POST',
          path: `/v1/sandboxes/${pick()}/policy/rules`,
          body: { action: 'deny', host: 'y.example' },
        }),
      async () => await client.ask({ method: 'GET', path: `/v1/sandboxes/${pick()}/stats` }),
      async () => await client.ask({ method: 'GET', path: `/v1/sandboxes/${pick()}/files/entries?path=/tmp` }),
      async () => await scene.exec(pick(), ['sh', '-c', 'echo x; sleep 0.05']),
      async () => {
        const abort = new AbortController();
        setTimeout(() => abort.abort(), Math.random() * 60);
        const body = { command: ['sleep', '0.5'] };
        const request = { method: 'POST', path: `/v1/sandboxes/${pick()}/execs`, body, signal: abort.signal } as const;
        try {
          for await (const _event of client.events(request));
        } catch (error) {
          if (!abort.signal.aborted) throw error;
        }
      },
    ];
    const odd: string[] = [];
    const endMs = performance.now() + 15_000;
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        while (performance.now() < endMs) {
          const index = Math.floor(Math.random() * operations.length);
          try {
            await operations[index]?.();
          } catch (error) {
            if (!(error instanceof SallyportError && REFUSALS.has(error.code))) odd.push(`${index}: ${String(error)}`);
          }
        }
      }),
    );
    assert.deepEqual(odd, []);
    const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
    for (const { name, state } of sandboxes) {
      assert.ok(['running', 'stopped', 'failed'].includes(state), `${name} is ${state}`);
      await client.ask({ method: 'DELETE', path: `/v1/sandboxes/${name}?force=true` });
    }
    assert.ok(readdirSync(join(scene.stateDirectory, 'sandboxes')).length <= 1, 'nothing but what is prepared is left');
    assert.doesNotMatch(readFileSync(join(scene.stateDirectory, 'daemon/log'), 'utf8'), /defect/);
  },
);

test('idle sandboxes do not wake the daemon', { timeout: 300_000 }, async (context) => {
  await using scene = await createDaemonScene(findPresentCaller());
  const { pid } = await scene.status();
  /** How often the threads of the daemon have gone to sleep, which is how often they were woken. */
  const count = (): number =>
    readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
      const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
      return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
    }, 0);
  const watch = async (): Promise<number> => {
    // What was asked for before has settled: commands leave parked processes behind, memory is cleared up.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    const before = count();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    return count() - before;
  };
  const empty = await watch();
  const { memoryBytes } = await scene.status();
  const sandboxes = Number(process.env['SALLYPORT_TEST_IDLE'] ?? 16);
  for (let index = 0; index < sandboxes; index += 1) await scene.create({ name: `idle-${index}` });
  const full = await watch();
  const eachBytes = ((await scene.status()).memoryBytes - memoryBytes) / sandboxes;
  context.diagnostic(
    `${sandboxes} idle: woken ${full} times in 5 s, ${empty} without any; ${Math.round(eachBytes / 1e4) / 100} MB each`,
  );
  // A timer of each, once in five seconds, would already be more.
  assert.ok(full - empty < sandboxes, `${full} against ${empty}`);
});
