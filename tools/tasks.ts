// What the npm scripts run, on the Node of the node modules: `node tools/tasks.ts TASK`.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { installPythonPackages } from '../fuzz/python/packages.ts';
import { buildPackages } from './build.ts';
import { addCounts, NO_TESTS, closingLine, runTests } from './test-run.ts';
import type { TestCounts } from './test-run.ts';

/** End-to-end tests that `npm test` leaves to `npm run test:clients`. */
const REAL_CLIENTS = join('e2e', 'real-clients');
/** How long `npm run ci` may take in all, and what it keeps of that for the real clients, whose first set-up is the longest part. */
const CI_BUDGET_MS = 80 * 60 * 1000;
const CLIENTS_SHARE_MS = 30 * 60 * 1000;
/** A file of unit tests takes seconds. */
const UNIT_FILE_TIMEOUT_MS = 5 * 60 * 1000;
/** How long `npm test` gives a fuzz target, and those in which much can go wrong. */
const FUZZ_SECONDS = 3;
const LONGER_FUZZ_SECONDS = 5;
const LONGER_FUZZ = [
  'gate',
  'gate-http2',
  'gate-http2-frames',
  'gate-responses',
  'http1',
  'http1-responses',
  'redact',
  'substitute-body',
];
/** A fuzz target that does not keep to its own time is ended this long after it: making a finding small takes a while. */
const FUZZ_GRACE_MS = 400_000;

interface Step {
  readonly name: string;
  /** Resolves to the tests that ran, or to whether a step that is no test run passed. */
  readonly run: () => Promise<TestCounts | boolean>;
}

const node = process.execPath;

/** Runs a program on this Node, in the foreground. */
function runNode(args: readonly string[], timeoutMs?: number): Promise<boolean> {
  const child = spawn(node, args, { stdio: 'inherit', ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }) });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (code) => resolve(code === 0));
  });
}

/** Runs the program that a development dependency calls `name`, without npm or npx. */
function runTool(packageName: string, program: string, ...args: string[]): Promise<boolean> {
  return runNode([join('node_modules', packageName, program), ...args]);
}

/** All files below `directory` that end in `ending`, sorted. */
function filesBelow(directory: string, ending: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending) && !/(^|\/)(node_modules|dist)\//.test(file))
    .map((file) => join(directory, file))
    .sort();
}

function unitTestFiles(): string[] {
  return ['packages', 'tools', 'fuzz', 'bench'].flatMap((directory) => filesBelow(directory, '.test.ts'));
}

/** The other Node that is supported, where its package is installed. */
function olderNode(): string | undefined {
  const file = `node_modules/node-24-linux-${process.arch}/bin/node`;
  return existsSync(file) ? file : undefined;
}

function unitSteps(): Step[] {
  const files = unitTestFiles();
  const concurrency = availableParallelism();
  const older = olderNode();
  const steps: Step[] = [
    {
      name: `unit and property tests, Node ${process.versions.node}`,
      run: () => runTests({ node, files, concurrency, fileTimeoutMs: UNIT_FILE_TIMEOUT_MS }),
    },
  ];
  if (older !== undefined) {
    steps.push({
      name: 'unit and property tests, Node 24',
      run: () => runTests({ node: older, files, concurrency, reporter: 'dot', fileTimeoutMs: UNIT_FILE_TIMEOUT_MS }),
    });
  }
  return steps;
}

function checkSteps(): Step[] {
  return [
    { name: 'format (oxfmt --check)', run: () => runTool('oxfmt', 'bin/oxfmt', '--check') },
    {
      name: 'lint (oxlint, with types)',
      run: () => runTool('oxlint', 'bin/oxlint', '--type-aware', '--deny-warnings'),
    },
    { name: 'types (tsc)', run: () => runTool('typescript', 'bin/tsc', '-p', '.') },
    { name: 'dead code (knip)', run: () => runTool('knip', 'bin/knip.js', '--no-config-hints') },
    ...unitSteps(),
  ];
}

function e2eSteps(): Step[] {
  const files = filesBelow('e2e', '.test.ts').filter((file) => !file.startsWith(REAL_CLIENTS));
  return [{ name: 'end to end', run: () => runTests({ node, files, concurrency: 1 }) }];
}

/** The table of clients; `--write` writes docs/clients.md anew instead of holding it against what was found. */
function clientSteps(args: readonly string[]): Step[] {
  const files = filesBelow(REAL_CLIENTS, '.test.ts');
  const runProgram = (file: string) => runNode(['--conditions=sallyport-source', join(REAL_CLIENTS, file)]);
  process.env['SALLYPORT_CLIENTS_SET_UP'] = '1';
  const steps: Step[] = [
    { name: 'set-up of the real clients', run: () => runProgram('install.ts') },
    { name: 'real clients', run: () => runTests({ node, files, concurrency: 1 }) },
  ];
  if (!args.includes('--write')) return steps;
  process.env['SALLYPORT_CLIENTS_WRITE'] = '1';
  return [...steps, { name: 'docs/clients.md', run: () => runProgram('write-table.ts') }];
}

/** The parsers that some fuzz targets ask. A machine that cannot have them leaves them out, in words. */
function pythonStep(): Step {
  const run = (): Promise<TestCounts> => {
    const reason = installPythonPackages();
    if (reason === null) return Promise.resolve(NO_TESTS);
    process.stderr.write(`Going on without Python’s h11 and h2, which could not be installed: ${reason}\n`);
    return Promise.resolve({ ...NO_TESTS, skipped: 1 });
  };
  return { name: 'Python’s parsers for the fuzz targets', run };
}

/** A step for each fuzz target, or for the one that `args` begin with; without further arguments each runs for a short while. */
function fuzzSteps(args: readonly string[]): Step[] {
  const [first] = args;
  const wanted = first === undefined || first.startsWith('-') ? null : first;
  const options = wanted === null ? args : args.slice(1);
  const files = existsSync('fuzz') ? readdirSync('fuzz').filter((file) => /^[^.]+\.ts$/.test(file)) : [];
  const targets = files.map((file) => file.slice(0, -3)).toSorted();
  const steps = targets
    .filter((target) => wanted === null || target === wanted)
    .map((target) => ({ name: `fuzz ${target}`, run: () => runFuzz(target, options) }));
  return steps.length === 0 ? [] : [pythonStep(), ...steps];
}

async function runFuzz(target: string, options: readonly string[]): Promise<TestCounts> {
  const isBounded = options.some((option) => /^--(seconds|iterations)\b/.test(option));
  const seconds = LONGER_FUZZ.includes(target) ? LONGER_FUZZ_SECONDS : FUZZ_SECONDS;
  const bound = isBounded ? [] : [`--seconds=${seconds}`];
  const program = ['--conditions=sallyport-source', join('fuzz', `${target}.ts`), ...options, ...bound];
  const passed = await runNode(program, isBounded ? undefined : seconds * 1000 + FUZZ_GRACE_MS);
  return { ...NO_TESTS, passed: passed ? 1 : 0, failed: passed ? 0 : 1 };
}

/**
 * Runs steps one after another, each with its time.
 *
 * @returns The tests of all steps; a failed step that is no test run counts as one failed test.
 */
async function runSteps(steps: readonly Step[], stopAtFailure: boolean): Promise<TestCounts> {
  let total = NO_TESTS;
  for (const { name, run } of steps) {
    process.stderr.write(`\n== ${name}\n`);
    const startedMs = performance.now();
    const result = await run();
    const counts = typeof result === 'boolean' ? { ...NO_TESTS, failed: result ? 0 : 1 } : result;
    total = addCounts(total, counts);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stderr.write(`== ${name}: ${counts.failed === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`);
    if (counts.failed > 0 && stopAtFailure) {
      process.stderr.write(`\n${name} failed; the steps after it did not run.\n`);
      break;
    }
  }
  return total;
}

/** Runs steps, prints the closing line as the last one, and returns the exit status. */
async function runAndCount(steps: readonly Step[], stopAtFailure: boolean): Promise<number> {
  return closeWith(await runSteps(steps, stopAtFailure));
}

function closeWith(total: TestCounts): number {
  process.stdout.write(`\n${closingLine(total)}\n`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

function testSteps(): Step[] {
  return [...checkSteps(), ...e2eSteps(), ...fuzzSteps([])];
}

/** Everything that CI runs: all tests, and the real clients as far as the time goes. Prints the closing line as the last one. */
async function runCi(): Promise<number> {
  const startedMs = performance.now();
  const tests = await runSteps(testSteps(), false);
  const elapsedMs = performance.now() - startedMs;
  const leftMs = CI_BUDGET_MS - elapsedMs;
  if (leftMs < CLIENTS_SHARE_MS) {
    process.stderr.write(
      `\n== real clients: left out. The tests before them took ${minutes(elapsedMs)} of ${minutes(CI_BUDGET_MS)} minutes, ` +
        `and the clients may need ${minutes(CLIENTS_SHARE_MS)}. Run: npm run test:clients\n`,
    );
    return closeWith(addCounts(tests, { ...NO_TESTS, skipped: 1 }));
  }
  return closeWith(addCounts(tests, await runSteps(clientSteps([]), true)));
}

function minutes(ms: number): string {
  return (ms / 60_000).toFixed(1);
}

async function main([task = '', ...args]: readonly string[]): Promise<number> {
  switch (task) {
    case 'check':
      return runAndCount(checkSteps(), true);
    case 'test':
      return runAndCount(testSteps(), false);
    case 'ci':
      return runCi();
    case 'unit':
      return runAndCount(unitSteps(), false);
    case 'e2e':
      return runAndCount(e2eSteps(), false);
    case 'clients':
      return runAndCount(clientSteps(args), true);
    case 'fuzz':
      return runAndCount(fuzzSteps(args), false);
    case 'build':
      return (await buildPackages(process.cwd())) ? 0 : 1;
    case 'format':
      return (await runTool('oxfmt', 'bin/oxfmt')) ? 0 : 1;
    case 'gauntlet:compare':
      return (await runNode(['--conditions=sallyport-source', 'tools/gauntlet-compare.ts', ...args])) ? 0 : 1;
    case 'demo':
      return (await runNode(['--conditions=sallyport-source', 'tools/demo.ts', ...args])) ? 0 : 1;
    default:
      process.stderr.write(`tools/run.sh: there is no task ${JSON.stringify(task)}.\n`);
      return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
