import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AttackResult } from './attack.ts';
import { ATTACKS } from './attacks/index.ts';
import { createCanary, createSeededRandom } from './canary.ts';
import { createAuthority } from './certificates.ts';
import { startClient } from './client.ts';
import { startGate } from './gate-process.ts';
import { UsageError } from './options.ts';
import type { GauntletOptions } from './options.ts';
import { runGauntlet } from './run.ts';
import type { GauntletReport } from './run.ts';
import type { Reach } from './session.ts';
import { startUpstreams } from './upstreams.ts';

const START_TIMEOUT_MS = 30_000;

function chooseReach(options: GauntletOptions): Reach {
  if (options.proxy !== undefined) return { kind: 'proxy', ...options.proxy };
  return options.transparent ? { kind: 'transparent', addresses: options.addresses } : { kind: 'direct' };
}

function chooseAttacks(only: readonly string[]): typeof ATTACKS {
  if (only.length === 0) return ATTACKS;
  for (const word of only) {
    if (!ATTACKS.some(({ id, category }) => id === word || category === word)) {
      throw new UsageError(`--only: there is no attack or category ${JSON.stringify(word)}; --list prints them`);
    }
  }
  return ATTACKS.filter(({ id, category }) => category === 'control' || only.includes(id) || only.includes(category));
}

/**
 * Starts the servers, the gate where asked, and the client half; runs the attacks; ends everything that it started.
 *
 * @throws UsageError for an option that fits nothing; Error when a part does not start.
 */
export async function runFromOptions(
  options: GauntletOptions,
  onResult?: (result: AttackResult) => void,
): Promise<GauntletReport> {
  const attacks = chooseAttacks(options.only);
  const { bound, unbound, start } = options;
  const random = createSeededRandom(options.seed);
  const value = options.value ?? createCanary(random);
  const secondValue = options.secondValue ?? createCanary(random);
  const authority = await createAuthority();
  const directory = mkdtempSync(join(tmpdir(), 'gauntlet-'));
  chmodSync(directory, 0o755);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const caFile = options.upstreamCaFile ?? join(directory, 'upstream-ca.pem');
  writeFileSync(caFile, authority.certificatePem, { mode: 0o644 });
  const upstreams = stack.use(await startUpstreams(authority, { bound, unbound }, options.ports));
  const env = {
    ...process.env,
    GAUNTLET_VALUE: value,
    GAUNTLET_BOUND: bound,
    GAUNTLET_UNBOUND: unbound,
    GAUNTLET_CA: caFile,
    GAUNTLET_BOUND_TLS_PORT: String(upstreams.ports['bound-tls']),
    GAUNTLET_BOUND_PORT: String(upstreams.ports['bound-clear']),
    GAUNTLET_UNBOUND_TLS_PORT: String(upstreams.ports['unbound-tls']),
    GAUNTLET_UNBOUND_PORT: String(upstreams.ports['unbound-clear']),
    GAUNTLET_SECOND_VALUE: secondValue,
  };
  const isWrapper = start?.includes('{}') === true;
  if (start !== undefined && !isWrapper) {
    const address = options.proxy ?? [...options.addresses.values()][0]!;
    stack.use(await startGate(start, env, address, START_TIMEOUT_MS));
  }
  const client = stack.use(
    await startClient({
      ...(isWrapper ? { command: start } : {}),
      ...(options.placeholderVariable === undefined ? {} : { placeholderVariable: options.placeholderVariable }),
      ...(options.secondPlaceholderVariable === undefined ? {} : { secondVariable: options.secondPlaceholderVariable }),
      node: options.clientNode,
      // Only a gate's own command is told the value.
      env: isWrapper ? env : process.env,
      startTimeoutMs: START_TIMEOUT_MS,
    }),
  );
  const placeholder = options.placeholder ?? client.placeholder;
  if (placeholder === null || placeholder === '') {
    throw new UsageError(`--placeholder-env: ${options.placeholderVariable} is not set where the client half runs`);
  }
  const secondPlaceholder = options.secondPlaceholder ?? client.second;
  if (secondPlaceholder === null && !options.without.has('second-secret')) {
    throw new UsageError(
      `--second-placeholder-env: ${options.secondPlaceholderVariable} is not set where the client half runs`,
    );
  }
  const second = secondPlaceholder === null ? undefined : { placeholder: secondPlaceholder, value: secondValue };
  const ca = options.caFile === undefined ? undefined : readFileSync(options.caFile, 'utf8');
  return await runGauntlet({
    attacks,
    client,
    upstreams,
    target: { reach: chooseReach(options), bound, unbound, placeholder, value, second, ca: options.ca ?? ca },
    without: options.without,
    seed: options.seed,
    ...(onResult === undefined ? {} : { onResult }),
  });
}
