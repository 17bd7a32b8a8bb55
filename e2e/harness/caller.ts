import { spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

/** Who runs the command line. */
export type CallerKind = 'root' | 'user';

/** An account of this machine. */
export interface Caller {
  readonly kind: CallerKind;
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The folder that holds `./sallyport`. */
export const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const THROWAWAY_USER = 'sallyport-e2e';
const USERADD_ATTEMPTS = 5;

function findAccount(name: string): Caller | undefined {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [account, , uid, gid] = line.split(':');
    if (account === name) return { kind: uid === '0' ? 'root' : 'user', name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/** Whether the account can read the checkout: one under `/root` it cannot. */
function canReadCheckout(caller: Caller): boolean {
  const probe = spawnSync('/bin/sh', ['-c', 'cd "$1" && test -r package.json', 'sh', CHECKOUT], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    uid: caller.uid,
    gid: caller.gid,
  });
  return probe.status === 0;
}

/** Whoever runs this process. */
export function findPresentCaller(): Caller {
  const { username, uid, gid } = userInfo();
  return { kind: uid === 0 ? 'root' : 'user', name: username, uid, gid };
}

let ordinaryUser: Caller | undefined;

/**
 * An ordinary account to test with: the present one, or for root `SALLYPORT_E2E_USER`, else `sallyport-e2e`, which is made when it is
 * missing (and stays: it has no password, no home and no shell).
 */
export function findOrdinaryUser(): Caller | undefined {
  const present = findPresentCaller();
  if (present.kind === 'user') return present;
  if (ordinaryUser !== undefined) return ordinaryUser;
  const wanted = process.env['SALLYPORT_E2E_USER'] ?? THROWAWAY_USER;
  // Test files run side by side, and useradd fails while another one holds the lock.
  for (let attempt = 0; attempt < USERADD_ATTEMPTS && findAccount(wanted) === undefined; attempt++) {
    spawnSync('useradd', ['--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', wanted]);
  }
  ordinaryUser = findAccount(wanted);
  return ordinaryUser;
}

/** The callers that this test process can be, with the reason for those that it cannot. */
export function listCallers(): { readonly kind: CallerKind; readonly caller?: Caller; readonly skip?: string }[] {
  const user = findOrdinaryUser();
  const root = findPresentCaller();
  if (root.kind === 'user') {
    return [
      { kind: 'root', skip: 'the test process is not root; run it as root to test both' },
      { kind: 'user', caller: root },
    ];
  }
  if (user === undefined)
    return [
      { kind: 'root', caller: root },
      { kind: 'user', skip: 'no ordinary account, and useradd failed' },
    ];
  if (!canReadCheckout(user)) {
    return [
      { kind: 'root', caller: root },
      { kind: 'user', skip: `"${user.name}" cannot read the checkout; put it where every user can read it` },
    ];
  }
  return [
    { kind: 'root', caller: root },
    { kind: 'user', caller: user },
  ];
}

/** Registers one test as root and one as an ordinary user; what cannot run here is skipped with its reason. */
export function eachCaller(
  name: string,
  run: (caller: Caller, context: TestContext) => void | Promise<void>,
  options: { readonly timeoutMs?: number; readonly skip?: string | undefined } = {},
): void {
  for (const { kind, caller, skip } of listCallers()) {
    const title = `${name} (as ${kind === 'root' ? 'root' : 'an ordinary user'})`;
    const reason = options.skip ?? skip;
    void test(
      title,
      { ...(reason === undefined ? {} : { skip: reason }), timeout: options.timeoutMs ?? 120_000 },
      async (context) => {
        if (caller !== undefined) await run(caller, context);
      },
    );
  }
}

/** Fresh directories of one test, owned by its caller; removed when disposed. */
export interface Scene {
  readonly caller: Caller;
  /** Holds all others. */
  readonly root: string;
  /** `HOME` of the command line; Sallyport's state lies below it. */
  readonly home: string;
  /** Default working directory, so the workspace of the sandbox. */
  readonly workspace: string;
  /** `TMPDIR` of the command line. */
  readonly tmp: string;
  /** Files that the sandbox may be given read-only by `-v`. */
  readonly assets: string;
  /** Where `--audit` writes. */
  readonly auditFile: string;
  [Symbol.dispose](): void;
}

/** Makes the directories of a test. */
export function createScene(caller: Caller): Scene {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-e2e-'));
  const make = (name: string): string => {
    const path = join(root, name);
    mkdirSync(path, { mode: 0o755 });
    chownSync(path, caller.uid, caller.gid);
    return path;
  };
  chownSync(root, caller.uid, caller.gid);
  return {
    caller,
    root,
    home: make('home'),
    workspace: make('workspace'),
    tmp: make('tmp'),
    assets: make('assets'),
    auditFile: join(make('audit'), 'audit.jsonl'),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}
