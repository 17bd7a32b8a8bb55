// The command line from its sources. Bundled, it is `loader.ts`, which has a file for each of the two programs.
import { runsSandbox } from './program-choice.ts';

if (runsSandbox(process.argv.slice(2))) await import('./run-main.ts');
else await import('./commands-main.ts');
