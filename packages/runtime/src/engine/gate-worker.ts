// The program of a thread of gates: it has the gates of some sandboxes, whose sockets, values and audit logs are its own. The daemon's thread
// has everything else of these sandboxes. What this thread cannot catch ends it, and its gates with it.
import { parentPort } from 'node:worker_threads';
import { SallyportError } from '@sallyport/sdk';
import type { Problem } from '../gate/problem.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import { receiveSecrets } from '../secrets/secret-set-transfer.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import { certificateThread } from '../tls/certificate-thread.ts';
import { ClientCertificate } from '../tls/client-certificate.ts';
import { UpstreamTrust } from '../tls/upstream-trust.ts';
import {
  NAME_STATES,
  type FromGateThread,
  type GateQuestion,
  type GateTask,
  type OpenMessage,
  type RulesMessage,
  type ToGateThread,
} from './gate-message.ts';
import { openSandboxGate, type GateTraffic, type SandboxGate, type SandboxGateRules } from './sandbox-gate.ts';
import { compilePolicy } from './sandbox-parts.ts';

const port = parentPort;
if (port === null) throw new TypeError('this is the program of a thread');

const gates = new Map<number, SandboxGate>();
const questions = new Map<number, (answer: Problem | boolean | null) => void>();
let questionCount = 0;
let trust: UpstreamTrust | null = null;

function say(message: FromGateThread): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
  port?.postMessage(message);
}

async function ask(gate: number, question: GateQuestion): Promise<Problem | boolean | null> {
  const call = (questionCount += 1);
  const answer = new Promise<Problem | boolean | null>((resolve) => questions.set(call, resolve));
  say({ kind: 'question', gate, call, question });
  return await answer;
}

/** Asks the daemon's thread for each request to an authority that has secrets: only there is it known whether a value's life is over. */
function providerOf(gate: number, { secretsFor, servicesFor }: SecretSet): ValueProvider {
  return {
    prepare(authority) {
      if (secretsFor(authority).length === 0 && servicesFor(authority).length === 0) return null;
      return ask(gate, { kind: 'prepare', authority }).then((answer) => (typeof answer === 'boolean' ? null : answer));
    },
    refused: async (names) => (await ask(gate, { kind: 'refused', names })) === true,
  };
}

function rulesOf(gate: number, { sources, secrets, closed, asks }: RulesMessage): SandboxGateRules {
  const { set } = receiveSecrets(secrets);
  const complete = { ...sources, secrets: set };
  return {
    policy: compilePolicy(complete),
    secrets: set,
    closed,
    provider: asks ? providerOf(gate, set) : null,
    sources: complete,
  };
}

async function open(gate: number, asked: OpenMessage): Promise<SandboxGate> {
  if (asked.trust !== null) trust = new UpstreamTrust(asked.trust);
  if (trust === null) throw new TypeError('no roots were sent');
  return await openSandboxGate({
    ...asked,
    rules: rulesOf(gate, asked.rules),
    earlierValues: receiveSecrets(asked.rules.secrets).earlier,
    authority: CertificateAuthority.restore(asked.authority),
    trust,
    clientCertificates: asked.clientCertificates.map((saved) => new ClientCertificate(saved)),
    ends: { doors: asked.doors },
    onName(name, position) {
      const state = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
      say({ kind: 'name', gate, name, position, state });
      Atomics.wait(state, 0, NAME_STATES.waiting);
      if (Atomics.load(state, 0) !== NAME_STATES.kept) throw new SallyportError('STATE_FAILED', 'A name was not kept.');
    },
    onAuditFailure: () => say({ kind: 'audit failure', gate }),
    onTerminate: (secret) => say({ kind: 'terminate', gate, secret }),
    onLost: () => undefined,
  });
}

async function perform(gate: number, task: GateTask): Promise<GateTraffic | null> {
  if (task.kind === 'open') {
    gates.set(gate, await open(gate, task.open));
    return null;
  }
  const known = gates.get(gate);
  if (known === undefined) throw new TypeError('there is no such gate');
  switch (task.kind) {
    case 'serve':
      await known.serve({ doors: task.doors });
      return null;
    case 'reconfigure':
      await known.reconfigure(rulesOf(gate, task.rules));
      return null;
    case 'secrets':
      known.replaceSecrets(receiveSecrets(task.secrets).set);
      return null;
    case 'traffic':
      return await known.traffic();
    case 'close':
      await known.close();
      return null;
    case 'end':
      gates.delete(gate);
      await known.end();
      return null;
    default:
      throw new TypeError(`unknown task ${String(task satisfies never)}`);
  }
}

port.on('message', (message: ToGateThread) => {
  if (message.kind === 'answer') {
    const resolve = questions.get(message.call);
    questions.delete(message.call);
    resolve?.(message.answer);
    return;
  }
  const { call } = message;
  perform(message.gate, message.task).then(
    (result) => say({ kind: 'done', call, result }),
    (error: unknown) =>
      say(
        error instanceof SallyportError
          ? { kind: 'failed', call, code: error.code, message: error.message }
          : { kind: 'failed', call, code: null, message: error instanceof Error ? error.name : typeof error },
      ),
  );
});
// For its leaves: the first one would wait for it.
certificateThread();
say({ kind: 'ready' });
