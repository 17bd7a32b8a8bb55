import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { KeychainAnswer, KeychainRequest } from './keychain-program.ts';

/** How long the keychain may take to be there, the start of the process included, in ms. */
const CONNECT_LIMIT_MS = 10_000;
/** How long it may take then, in ms: somebody may have to type a password. */
const ANSWER_LIMIT_MS = 60_000;
/** After so many requests another process takes over: each leaves a D-Bus connection open, and from 1,024 descriptors on the library never comes back. */
const MAX_REQUESTS = 200;
/** The library gives the service 2 s for an answer, which a keyring of a few thousand items on a busy machine does not always keep. Each request can be repeated. */
const MAX_TRIES = 5;
const RETRY_MS = 250;
/** How long the process waits for another request, in ms. */
const IDLE_MS = 5_000;

/** Beside this module as a source, beside the bundle as a bundle of its own (tools/bundle.ts). */
const PROGRAM = fileURLToPath(new URL(`keychain-program${extname(import.meta.url)}`, import.meta.url));

/** What the process sees of the environment: what leads to the keychain, and to the window that asks for its password. No value of anybody's. */
const PASSED_VARIABLES =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|XDG_\w+|DBUS_\w+|SYSTEMROOT|APPDATA|LOCALAPPDATA|USERPROFILE)$/i;

/**
 * Why the keychain did not do what was asked.
 *
 * - `absent`: there is none, or nothing that answers as one;
 * - `unusable`: there is one that can keep nothing yet;
 * - `locked`: somebody has to open it first;
 * - `busy`: it took too long;
 * - `failed`: anything else.
 */
export type KeychainTrouble = 'absent' | 'unusable' | 'locked' | 'busy' | 'failed';

/** A failure of the keychain, before anybody made words of it. */
export class KeychainError extends Error {
  override readonly name = 'KeychainError';
  readonly trouble: KeychainTrouble;

  constructor(trouble: KeychainTrouble, message: string) {
    super(message);
    this.trouble = trouble;
  }
}

/** Limits, in ms. For tests. */
export interface KeychainLimits {
  readonly connectMs?: number;
  readonly answerMs?: number;
}

type Answer = Exclude<KeychainAnswer, { kind: 'connected' | 'problem' }>;

/** The process that talks to the keychain, one request after another. It is there while it is used, and ends with this one. */
export class KeychainProcess {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #limits: KeychainLimits;
  #child: KeychainChild | null = null;
  #last: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | null = null;

  constructor(environment: NodeJS.ProcessEnv, limits: KeychainLimits = {}) {
    this.#environment = environment;
    this.#limits = limits;
  }

  /** @throws KeychainError; the reason of `signal` */
  async ask(request: KeychainRequest, signal?: AbortSignal): Promise<Answer> {
    const answering = this.#last.then(async () => await this.#insist(request, signal));
    this.#last = answering.catch(() => {});
    return await answering;
  }

  async close(): Promise<void> {
    await this.#last;
    this.#end();
  }

  async #insist(request: KeychainRequest, signal: AbortSignal | undefined): Promise<Answer> {
    for (let tries = 1; ; tries += 1) {
      try {
        // oxlint-disable-next-line no-await-in-loop
        return await this.#ask(request, signal);
      } catch (error) {
        if (!(error instanceof KeychainError) || error.trouble !== 'busy' || tries >= MAX_TRIES) throw error;
        // oxlint-disable-next-line no-await-in-loop
        await sleep(RETRY_MS * tries);
      }
    }
  }

  async #ask(request: KeychainRequest, signal: AbortSignal | undefined): Promise<Answer> {
    signal?.throwIfAborted();
    if (this.#idle !== null) clearTimeout(this.#idle);
    const environment = keychainEnvironment(this.#environment);
    if (environment === null) throw new KeychainError('absent', 'there is no D-Bus session');
    const end = (): void => this.#end();
    signal?.addEventListener('abort', end);
    try {
      if (this.#child !== null && this.#child.requests >= MAX_REQUESTS) this.#end();
      this.#child ??= new KeychainChild(environment);
      this.#child.hold();
      this.#child.write(`${JSON.stringify(request)}\n`);
      const connectMs = this.#limits.connectMs ?? CONNECT_LIMIT_MS;
      const first = await this.#nextAnswer(connectMs, 'absent', `it did not answer within ${connectMs / 1_000} s`);
      if (first.kind !== 'connected') return first;
      const answerMs = this.#limits.answerMs ?? ANSWER_LIMIT_MS;
      const waited = `it did not answer within ${answerMs / 1_000} s; it may be waiting for its password`;
      const answer = await this.#nextAnswer(answerMs, 'locked', waited);
      if (answer.kind === 'connected') throw new KeychainError('failed', 'it answered twice');
      return answer;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', end);
      this.#child?.release();
      this.#idle = setTimeout(end, IDLE_MS).unref();
    }
  }

  async #nextAnswer(
    limitMs: number,
    trouble: KeychainTrouble,
    message: string,
  ): Promise<Answer | { readonly kind: 'connected' }> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#end();
    }, limitMs);
    try {
      const line = (await this.#child?.nextLine()) ?? null;
      if (isLate) throw new KeychainError(trouble, message);
      if (line === null) {
        this.#end();
        throw new KeychainError('failed', 'the process that talks to it ended');
      }
      const answer = JSON.parse(line) as KeychainAnswer;
      if (answer.kind === 'problem') throw new KeychainError(classify(answer.message), firstLine(answer.message));
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }

  #end(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#child?.end();
    this.#child = null;
  }
}

/** The process, and the lines that it writes. */
class KeychainChild {
  readonly #process: ReturnType<typeof spawn>;
  readonly #input: Socket;
  readonly #output: Socket;
  readonly #lines: string[] = [];
  requests = 0;
  #partial = '';
  #hasEnded = false;
  #waiter: ((line: string | null) => void) | null = null;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#process = spawn(process.execPath, [PROGRAM], { env: environment, stdio: ['pipe', 'pipe', 'ignore'] });
    // What goes wrong with it shows in what it does not answer.
    this.#process.on('error', () => this.#finish());
    this.#input = this.#process.stdin as Socket;
    this.#output = this.#process.stdout as Socket;
    this.#input.on('error', () => {});
    this.#output.on('error', () => {});
    this.#output.on('close', () => this.#finish());
    this.#output.setEncoding('utf8');
    this.#output.on('data', (text: string) => this.#take(text));
  }

  write(text: string): void {
    this.requests += 1;
    this.#input.write(text);
  }

  /** Null when there will be no more. */
  async nextLine(): Promise<string | null> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#hasEnded) return line ?? null;
    return await new Promise((resolve) => {
      this.#waiter = resolve;
    });
  }

  /** Keeps this process alive. */
  hold(): void {
    this.#process.ref();
    this.#input.ref();
    this.#output.ref();
  }

  release(): void {
    this.#process.unref();
    this.#input.unref();
    this.#output.unref();
  }

  end(): void {
    // It may be deep in the library: nothing less ends it.
    this.#process.kill('SIGKILL');
    this.#input.destroy();
    this.#output.destroy();
    this.#finish();
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    this.#lines.push(...lines);
    if (this.#waiter === null || this.#lines.length === 0) return;
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter(this.#lines.shift() ?? null);
  }

  #finish(): void {
    this.#hasEnded = true;
    this.#waiter?.(null);
    this.#waiter = null;
  }
}

/** What the process is started with; null where nobody can be there to talk to. */
function keychainEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv | null {
  const passed: NodeJS.ProcessEnv = Object.fromEntries(
    Object.entries(environment).filter(([name]) => PASSED_VARIABLES.test(name)),
  );
  if (process.platform !== 'linux') return passed;
  const address = sessionBusAddress(environment);
  return address === null ? null : { ...passed, DBUS_SESSION_BUS_ADDRESS: address };
}

/** The address of the user's D-Bus session: the one that is named, else the usual socket where there is one. Null where there is none. */
export function sessionBusAddress(environment: NodeJS.ProcessEnv): string | null {
  const named = environment['DBUS_SESSION_BUS_ADDRESS'];
  if (named !== undefined && named !== '') return named;
  const directory = environment['XDG_RUNTIME_DIR'] ?? `/run/user/${process.getuid?.() ?? 0}`;
  const socket = join(directory, 'bus');
  return existsSync(socket) ? `unix:path=${socket}` : null;
}

/** By the words of the library and of what is below it: there is nothing else to go by. */
function classify(message: string): KeychainTrouble {
  // The service has a prompt for the password, which nobody answered; macOS where it may not ask.
  if (/prompt was dismissed|IsLocked|\blocked\b|interaction is not allowed/i.test(message)) return 'locked';
  if (/did not receive a reply|NoReply/i.test(message)) return 'busy';
  // No collection to put anything into.
  if (/no result found/i.test(message)) return 'unusable';
  if (/failed to connect|not provided by any|autolaunch|cannot find module|cannot find native/i.test(message)) {
    return 'absent';
  }
  return 'failed';
}

function firstLine(message: string): string {
  return (message.split('\n')[0] ?? '').slice(0, 200);
}
