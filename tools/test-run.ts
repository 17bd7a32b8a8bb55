import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How many tests ended how. Cancelled tests count as failed, "todo" ones as skipped. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The neutral element of `addCounts`. */
export const NO_TESTS: TestCounts = { passed: 0, failed: 0, skipped: 0 };

/** A run that says nothing reliable about its tests. */
const BROKEN_RUN: TestCounts = { passed: 0, failed: 1, skipped: 0 };

/** The sum of two counts. */
export function addCounts(a: TestCounts, b: TestCounts): TestCounts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The line that CI reads. */
export function closingLine({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/**
 * The counts that tools/count-reporter.ts wrote, against the exit status of its run.
 * Whatever does not fit together is a failure: no text, no test at all, a bad status without a failed test.
 */
export function readCounts(text: string, exitStatus: number | null): TestCounts {
  const line = text.trim().split('\n').at(-1) ?? '';
  const match = /^passed=(\d+) failed=(\d+) skipped=(\d+)$/.exec(line);
  if (match === null) return BROKEN_RUN;
  const [passed = 0, failed = 0, skipped = 0] = match.slice(1).map(Number);
  const counts = { passed, failed, skipped };
  if (passed + failed + skipped === 0) return BROKEN_RUN;
  return exitStatus !== 0 && failed === 0 ? addCounts(counts, BROKEN_RUN) : counts;
}

/** A single test, or a suite as a whole, that takes longer has hung: it fails, and the run goes on. */
const TEST_TIMEOUT_MS = 15 * 60 * 1000;
/** The same for the process of a file, which node:test waits for without an end, also where it never comes back to its event loop. */
const FILE_TIMEOUT_MS = 20 * 60 * 1000;
/** How many times within a file's time the processes are looked at. */
const LOOKS = 20;

/** One run of node:test. */
export interface TestRun {
  /** The Node to run. */
  readonly node: string;
  readonly files: readonly string[];
  /** How many files at a time. */
  readonly concurrency: number;
  /** node:test's reporter for people, or none; default "spec". */
  readonly reporter?: 'spec' | 'dot' | 'none';
  /** How long the process of one file may take, in milliseconds; default 20 minutes. */
  readonly fileTimeoutMs?: number;
}

/** Runs test files and counts their tests. A crashed runner, a file without tests and a run without files are failures. */
export async function runTests(run: TestRun): Promise<TestCounts> {
  const { node, files, concurrency, reporter = 'spec', fileTimeoutMs = FILE_TIMEOUT_MS } = run;
  if (files.length === 0) return BROKEN_RUN;
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-counts-'));
  const countsFile = join(directory, 'counts');
  try {
    const args = [
      '--conditions=sallyport-source',
      '--test',
      `--test-concurrency=${concurrency}`,
      `--test-timeout=${TEST_TIMEOUT_MS}`,
      ...(reporter === 'none' ? [] : [`--test-reporter=${reporter}`, '--test-reporter-destination=stdout']),
      `--test-reporter=${join(import.meta.dirname, 'count-reporter.ts')}`,
      `--test-reporter-destination=${countsFile}`,
      ...files,
    ];
    // A runner within a test file would otherwise take itself for that file's process and run nothing.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(node, args, { env, stdio: ['ignore', 'inherit', 'inherit'] });
    const watch = watchFiles(child.pid, fileTimeoutMs);
    const exitStatus = await new Promise<number | null>((resolve) => {
      child.on('error', () => resolve(null));
      child.on('exit', resolve);
    });
    clearInterval(watch);
    return readCounts(readIfThere(countsFile), exitStatus);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Ends what takes longer than `fileTimeoutMs`: a file's process, or a runner that has none. What is ended counts as failed. */
function watchFiles(runner: number | undefined, fileTimeoutMs: number): NodeJS.Timeout | undefined {
  if (runner === undefined) return undefined;
  let begins = new Map<number, number>();
  const look = (): void => {
    const nowMs = performance.now();
    const children = readIfThere(`/proc/${runner}/task/${runner}/children`).split(' ').filter(Boolean).map(Number);
    const watched = children.length === 0 ? [runner] : children;
    begins = new Map(watched.map((pid) => [pid, begins.get(pid) ?? nowMs]));
    for (const [pid, beganMs] of begins) {
      if (nowMs - beganMs > fileTimeoutMs) end(pid, fileTimeoutMs);
    }
  };
  return setInterval(look, fileTimeoutMs / LOOKS);
}

function end(pid: number, fileTimeoutMs: number): void {
  const file = readIfThere(`/proc/${pid}/cmdline`).split('\0').filter(Boolean).at(-1) ?? '';
  const state = /^State:\s*(.*)$/m.exec(readIfThere(`/proc/${pid}/status`))?.[1] ?? 'ended';
  const waitsIn = readIfThere(`/proc/${pid}/wchan`);
  const seconds = (fileTimeoutMs / 1000).toFixed(0);
  process.stderr.write(`\nEnded after ${seconds} s, because it hung (${state}; ${waitsIn}): ${file}\n`);
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
