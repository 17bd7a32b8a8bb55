// `sallyport run -- COMMAND` in a sandbox that lasts as long as the command. A program of its own, so that nothing else is loaded.
import { Milestones } from '../engine/milestones.ts';
import { runToEnd } from './process-end.ts';

/**
 * Only what a sandbox needs first is loaded first, and begun before the options are read. If they turn out to be wrong, it is given up again.
 */
async function main(argv: readonly string[]): Promise<number> {
  const milestones = new Milestones();
  milestones.mark('node start');
  const { takeHeadStart } = await import('../engine/head-start.ts');
  const headStart = takeHeadStart(milestones);
  try {
    // In parts: what the first processes have to say is heard in between.
    await import('../policy/host-pattern.ts');
    await nextTurn();
    const [{ runCommandLine }, { addRunCommand }] = await Promise.all([
      import('./command-line.ts'),
      import('./run.ts'),
    ]);
    await nextTurn();
    milestones.mark('command line loaded');
    return await runCommandLine(argv, (program, command, settle) =>
      addRunCommand(program, command, { kind: 'begun', headStart }, settle),
    );
  } finally {
    await headStart.opening.close();
  }
}

/** Lets the event loop deliver what has come. */
async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

// Not awaited: bundled, this is a CommonJS module, in which what is imported late is loaded late.
void runToEnd(main);
