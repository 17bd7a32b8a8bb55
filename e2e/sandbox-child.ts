// A small program for tests that need a sandbox's parent as a process of its own: to kill it, or to give it a terminal.
// Arguments: the sandbox as JSON, then the command. It says "running PID" on descriptor 3 where there is one.
import { writeSync } from 'node:fs';
import { launchSandbox } from '../packages/runtime/src/sandbox/sandbox.ts';

const [, , text = '{}', ...command] = process.argv;
const launch = launchSandbox(
  {
    name: 'box',
    command,
    environment: {},
    workspace: undefined,
    volumes: [],
    limits: { pids: 4096, memoryBytes: 512 * 1024 * 1024 },
    protectedPaths: [],
    ...(JSON.parse(text) as object),
  },
  { ports: [80] },
);
const airlock = await launch.airlock;
const sandbox = await launch.start();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void sandbox.signal(signal));
try {
  writeSync(3, `running ${airlock.holderPid}\n`);
} catch {
  // Nobody listens.
}
const { code } = await sandbox.wait();
await launch.close();
process.exit(code);
