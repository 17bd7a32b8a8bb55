import { Milestones } from '../engine/milestones.ts';

/**
 * Runs the command line, and then ends the process, whatever a library has left open: the command is over, its status is known.
 *
 * Only what a sandbox needs first is loaded first. A word `--` after `run` means that one is wanted, but for one that is kept, which is the
 * daemon's to make; if the options before it turn out to be wrong, it is given up again.
 */
async function main(argv: readonly string[]): Promise<number> {
  const milestones = new Milestones();
  milestones.mark('node start');
  const runsSandbox = argv[0] === 'run' && argv.includes('--') && !argv.slice(0, argv.indexOf('--')).includes('--keep');
  const headStart = runsSandbox ? (await import('../engine/head-start.ts')).takeHeadStart(milestones) : null;
  try {
    // In parts: what the first processes have to say is heard in between.
    await import('../policy/host-pattern.ts');
    await nextTurn();
    const { runCommandLine } = await import('./command-line.ts');
    await nextTurn();
    milestones.mark('command line loaded');
    return await runCommandLine(argv, headStart);
  } finally {
    await headStart?.opening.close();
  }
}

/** Lets the event loop deliver what has come. */
async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until what was written is with the reader; one that is gone is no reason to wait. */
async function flush(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0) return;
  await new Promise<void>((resolve) => {
    stream.once('error', () => resolve());
    stream.write('', () => resolve());
  });
}

async function runToEnd(): Promise<never> {
  const status = await main(process.argv.slice(2));
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(status);
}

// Not awaited: the bundle is a CommonJS module, in which what is imported late is loaded late.
void runToEnd();
