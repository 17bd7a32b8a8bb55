// The program of the process that talks to the keychain. The library waits for D-Bus without any limit, on the thread that asks, from the moment at which an entry is
// made; only a process can be ended in the middle of that. One request a line comes in, and goes out as one or two.
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import type { Entry } from '@napi-rs/keyring';

/** What is asked of the keychain, one line of JSON. */
export type KeychainRequest =
  | { readonly kind: 'get' | 'delete'; readonly service: string; readonly account: string }
  | { readonly kind: 'set'; readonly service: string; readonly account: string; readonly text: string }
  | { readonly kind: 'list'; readonly service: string };

/** What it says: that it is there, then what came of the request. `problem` has the words of the library. */
export type KeychainAnswer =
  | { readonly kind: 'connected' }
  | { readonly kind: 'text'; readonly text: string | null }
  | { readonly kind: 'done'; readonly isChanged: boolean }
  | { readonly kind: 'accounts'; readonly accounts: readonly string[] }
  | { readonly kind: 'problem'; readonly message: string };

/** Not the kernel's keyring, which forgets. */
const OPTIONS = { linux: { store: 'secret-service' } } as const;

function say(answer: KeychainAnswer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function perform(request: KeychainRequest): Promise<KeychainAnswer> {
  const keyring = await import('@napi-rs/keyring');
  const openEntry = (account: string): Entry => new keyring.Entry(request.service, account, OPTIONS);
  // Which connects.
  const entry = openEntry(request.kind === 'list' ? '.list' : request.account);
  say({ kind: 'connected' });
  switch (request.kind) {
    case 'get':
      return { kind: 'text', text: entry.getPassword() };
    case 'set':
      entry.setPassword(request.text);
      return { kind: 'done', isChanged: true };
    case 'delete':
      return { kind: 'done', isChanged: entry.deleteCredential() };
    case 'list':
      return { kind: 'accounts', accounts: keyring.findCredentials(request.service).map(({ account }) => account) };
  }
}

/** Ends this process when its parent has: while the library waits, the end of the input is not seen. */
const WATCHDOG = `
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), 500);`;

new Worker(WATCHDOG, { eval: true, env: {}, execArgv: [] }).unref();

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      say(await perform(JSON.parse(line) as KeychainRequest));
    } catch (error) {
      say({ kind: 'problem', message: error instanceof Error ? error.message : 'unknown' });
    }
  }
}

void serve();
