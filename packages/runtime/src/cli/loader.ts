// What Node is told to run where the command line is bundled (tools/bundle.ts): chooses the program, and runs it from the code that an earlier process
// compiled. Node's own cache is made before a program has run, and so holds none of the functions that V8 compiles when they are called first.
import { readFileSync } from 'node:fs';
import { createRequire, getCompileCacheDir } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { readCompiledCode, writeCompiledCode } from './code-cache.ts';
import { runsSandbox } from './program-choice.ts';

/** When the code of a process that goes on is kept, in ms: functions that are not called for long lose theirs. */
const KEEP_AFTER_MS = 5_000;
/** The end of a program: `//`, and an id of the text before. */
const ID_CHARACTERS = 64;

type Program = (
  exports: object,
  require: NodeJS.Require,
  module: { readonly exports: object },
  filename: string,
  directory: string,
) => void;

function runProgram(name: string): void {
  const file = fileURLToPath(new URL(`${name}.cjs`, import.meta.url));
  // Bundles are ASCII, which takes half of the time and memory of UTF-8.
  const text = readFileSync(file, 'latin1');
  const id = text.trimEnd().slice(-ID_CHARACTERS);
  // Of this version of Node and these options for it, below a directory that nobody else can write to; see bin/preload.cjs.
  const directory = getCompileCacheDir();
  const cacheFile = directory === undefined ? undefined : join(directory, `${name}.code`);
  const cachedData = cacheFile === undefined ? undefined : readCompiledCode(cacheFile, id);
  const script = new Script(`(function (exports, require, module, __filename, __dirname) { ${text}\n})`, {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  if (cacheFile !== undefined && (cachedData === undefined || script.cachedDataRejected === true)) {
    const keep = (): void => {
      clearTimeout(timer);
      process.removeListener('exit', keep);
      writeCompiledCode(cacheFile, id, script.createCachedData());
    };
    const timer = setTimeout(keep, KEEP_AFTER_MS).unref();
    process.once('exit', keep);
  }
  const module = { exports: {} };
  const program = script.runInThisContext() as Program;
  program(module.exports, createRequire(file), module, file, dirname(file));
}

runProgram(runsSandbox(process.argv.slice(2)) ? 'run' : 'commands');
