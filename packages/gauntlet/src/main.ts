#!/usr/bin/env node
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { AttackResult } from './attack.ts';
import { ATTACKS } from './attacks/index.ts';
import { runFromOptions } from './gauntlet.ts';
import { HELP, UsageError, readOptions } from './options.ts';
import { formatJson, formatJunit, formatResult, formatSummary } from './report.ts';
import type { Verdict } from './run.ts';

const EXIT_STATUSES: Readonly<Record<Verdict, number>> = { passed: 0, failed: 1, inconclusive: 3 };
const EXIT_USAGE = 2;
const MAX_SEED = 2 ** 31;

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args, process.env, randomInt(MAX_SEED));
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.list) {
    for (const { id, category, title, reference } of ATTACKS) {
      process.stdout.write(`${id.padEnd(30)} ${category.padEnd(11)} ${title} [${reference}]\n`);
    }
    return 0;
  }
  const print = (result: AttackResult): void => {
    if (!options.quiet || (result.outcome !== 'pass' && result.outcome !== 'unsupported')) {
      process.stdout.write(`${formatResult(result)}\n`);
    }
  };
  const report = await runFromOptions(options, print);
  process.stdout.write(`${formatSummary(report)}\n`);
  if (options.json !== undefined) writeFileSync(options.json, formatJson(report));
  if (options.junit !== undefined) writeFileSync(options.junit, formatJunit(report));
  return EXIT_STATUSES[report.verdict];
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError;
  process.stderr.write(`gauntlet: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = isUsage ? EXIT_USAGE : EXIT_STATUSES.inconclusive;
}
