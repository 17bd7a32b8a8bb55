import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PASSWORD = 'the password of the keyring';
const COLLECTION = '/org/freedesktop/secrets/collection/login';
const SERVICE = 'org.freedesktop.secrets';
const START_LIMIT_MS = 20_000;

/** The programs that a session needs, and which of them are missing. */
export function missingKeyringPrograms(): string[] {
  return ['dbus-run-session', 'dbus-send', 'gnome-keyring-daemon', 'secret-tool'].filter(
    (program) => spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program]).status !== 0,
  );
}

/** A D-Bus session with a gnome-keyring of its own, in a home of its own. */
export interface KeyringSession {
  /** What leads to it. */
  readonly environment: NodeJS.ProcessEnv;
  lock(): void;
  unlock(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a session whose bus is the usual socket of a runtime directory.
 *
 * @param runtimeDirectory Made where it is missing.
 * @param options.hasKeyring Without: a session in which nothing keeps secrets.
 */
export async function startKeyringSession(
  runtimeDirectory: string,
  options: { readonly hasKeyring?: boolean } = {},
): Promise<KeyringSession> {
  const hasKeyring = options.hasKeyring ?? true;
  const home = mkdtempSync(join(tmpdir(), 'sallyport-keyring-'));
  mkdirSync(runtimeDirectory, { recursive: true, mode: 0o700 });
  const address = `unix:path=${join(runtimeDirectory, 'bus')}`;
  const config = join(home, 'session.conf');
  writeFileSync(
    config,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>${address}</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`,
  );
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    HOME: home,
    XDG_RUNTIME_DIR: runtimeDirectory,
    XDG_DATA_HOME: join(home, 'share'),
    XDG_CACHE_HOME: join(home, 'cache'),
  };
  const inside = { ...environment, DBUS_SESSION_BUS_ADDRESS: address };
  // Ends with its standard input, and takes everything along.
  const script = hasKeyring
    ? `while :; do printf %s '${PASSWORD}' | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null; done & cat; kill $!`
    : 'cat';
  const session = spawn('dbus-run-session', [`--config-file=${config}`, '--', 'sh', '-c', script], {
    env: environment,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => {
    session.on('exit', () => resolve());
    session.on('error', () => resolve());
  });
  const stop = async (): Promise<void> => {
    session.stdin.end();
    await ended;
    rmSync(home, { recursive: true, force: true });
  };
  const isUp = (): boolean =>
    hasKeyring
      ? send(inside, SERVICE, COLLECTION, 'org.freedesktop.DBus.Peer.Ping')
      : send(inside, 'org.freedesktop.DBus', '/', 'org.freedesktop.DBus.Peer.Ping');
  const waitUntilUp = async (): Promise<void> => {
    const end = performance.now() + START_LIMIT_MS;
    while (!isUp()) {
      if (performance.now() > end) throw new Error('the keyring did not start');
      // oxlint-disable-next-line no-await-in-loop
      await sleep(50);
    }
  };
  try {
    await waitUntilUp();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    environment,
    lock() {
      if (
        !send(
          inside,
          SERVICE,
          '/org/freedesktop/secrets',
          'org.freedesktop.Secret.Service.Lock',
          `array:objpath:${COLLECTION}`,
        )
      ) {
        throw new Error('the keyring cannot be locked');
      }
    },
    async unlock() {
      // It has no other way that needs no window: it is ended, and started with the password as at a login.
      process.kill(keyringProcess(inside), 'SIGKILL');
      await waitUntilUp();
    },
    stop,
  };
}

function keyringProcess(environment: NodeJS.ProcessEnv): number {
  const operands = ['--session', '--print-reply=literal', '--dest=org.freedesktop.DBus', '/org/freedesktop/DBus'];
  const method = ['org.freedesktop.DBus.GetConnectionUnixProcessID', `string:${SERVICE}`];
  const { stdout } = spawnSync('dbus-send', [...operands, ...method], { env: environment, encoding: 'utf8' });
  const pid = Number(/uint32 (\d+)/.exec(stdout)?.[1]);
  if (!Number.isInteger(pid) || pid < 2) throw new Error('the keyring has no process');
  return pid;
}

function send(
  environment: NodeJS.ProcessEnv,
  destination: string,
  path: string,
  method: string,
  ...values: string[]
): boolean {
  const operands = ['--session', '--print-reply', `--dest=${destination}`, path, method, ...values];
  return spawnSync('dbus-send', operands, { env: environment }).status === 0;
}
