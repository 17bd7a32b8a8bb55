import type { AttackResult } from './attack.ts';
import type { GauntletReport } from './run.ts';

const MARKS = { pass: 'pass', fail: 'FAIL', unsupported: 'n/a ', error: 'ERR ' } as const;

/** One result, for people: a line, and what was seen where it did not pass. */
export function formatResult(result: AttackResult): string {
  const mark = result.informational && result.outcome === 'fail' ? 'info' : MARKS[result.outcome];
  const line = `${mark}  ${result.id.padEnd(30)} ${result.title} (${result.milliseconds} ms)`;
  if (result.outcome === 'pass') return line;
  const leak = result.outcome === 'fail' ? [`leaks: ${result.leak}`, `see: ${result.reference}`] : [];
  return [line, ...[...result.evidence, ...leak].map((one) => `      ${one}`)].join('\n');
}

/** The last lines of a report for people. */
export function formatSummary(report: GauntletReport): string {
  const { pass, fail, unsupported, error } = report.counts;
  const informational = report.results.filter((one) => one.informational && one.outcome === 'fail').length;
  const lines = [
    `${pass} passed, ${fail} failed, ${unsupported} unsupported, ${error} errors, ${informational} informational (seed ${report.seed})`,
  ];
  if (report.without.length > 0) lines.push(`stated to be missing: ${report.without.join(', ')}`);
  if (report.verdict === 'inconclusive')
    lines.push('inconclusive: a positive control failed, so nothing else was tried');
  return lines.join('\n');
}

/** The whole report for people. */
export function formatText(report: GauntletReport): string {
  return `${[...report.results.map(formatResult), '', formatSummary(report)].join('\n')}\n`;
}

/** The report as JSON, indented. */
export function formatJson(report: GauntletReport): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}

/** Text as XML 1.0 can carry it: what it has no character for becomes a question mark. */
function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&apos;',
  };
  // eslint-disable-next-line no-control-regex -- the controls are what XML forbids
  return text.replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd]/g, '?').replace(/[&<>"']/g, (one) => entities[one] ?? one);
}

function formatCase(result: AttackResult): string {
  const name = `name="${escapeXml(`${result.id}: ${result.title}`)}" classname="gauntlet.${result.category}" time="${result.milliseconds / 1_000}"`;
  const text = escapeXml(result.evidence.join('\n'));
  const message = escapeXml(result.evidence[0] ?? '');
  if (result.informational && result.outcome === 'fail') {
    return `    <testcase ${name}><system-out>${text}</system-out></testcase>`;
  }
  switch (result.outcome) {
    case 'pass':
      return `    <testcase ${name}/>`;
    case 'fail':
      return `    <testcase ${name}><failure message="${message}">${escapeXml(`leaks: ${result.leak}\n`)}${text}</failure></testcase>`;
    case 'unsupported':
      return `    <testcase ${name}><skipped message="${message}"/></testcase>`;
    case 'error':
      return `    <testcase ${name}><error message="${message}">${text}</error></testcase>`;
  }
}

/** The report as JUnit XML: a suite for each category. */
export function formatJunit(report: GauntletReport): string {
  const suites = [...Map.groupBy(report.results, ({ category }) => category)].map(([category, results]) => {
    const count = (outcome: AttackResult['outcome']): number =>
      results.filter((one) => one.outcome === outcome && !one.informational).length;
    const seconds = results.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / 1_000;
    const head = `  <testsuite name="gauntlet.${category}" tests="${results.length}" failures="${count('fail')}" errors="${count('error')}" skipped="${count('unsupported')}" time="${seconds}">`;
    return [head, ...results.map(formatCase), '  </testsuite>'].join('\n');
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites name="gauntlet">',
    ...suites,
    '</testsuites>',
    '',
  ].join('\n');
}
