// All commands, but for what `run-main.ts` does.
import { runCommandLine } from './command-line.ts';
import { addCommands } from './commands.ts';
import { runToEnd } from './process-end.ts';

// Not awaited: bundled, this is a CommonJS module.
void runToEnd(async (argv) => await runCommandLine(argv, addCommands));
