import type { AttackResult, GauntletReport } from '../../packages/gauntlet/src/index.ts';

/** A gate that the gauntlet ran over. */
export interface ComparedGate {
  /** With its version. */
  readonly name: string;
  readonly report: GauntletReport;
}

const CATEGORIES: Readonly<Record<Exclude<AttackResult['category'], 'control'>, string>> = {
  authority: 'Whose request it is: CONNECT, server name, Host, target',
  'host-names': 'Host names that readers take for another',
  smuggling: 'Where a request ends',
  http2: 'HTTP/2, and its downgrade',
  reflection: 'Answers that hold the value',
  protocol: 'Methods, caches, redirects, ranges',
  placement: 'Where the placeholder stands, and how often',
  exhaustion: 'Few bytes that cost much, slowness',
  sandbox: 'Looking around, walking around the gate',
};

function describe(report: GauntletReport, category: string): string {
  const results = report.results.filter((one) => one.category === category && !one.informational);
  const count = (outcome: AttackResult['outcome']): number => results.filter((one) => one.outcome === outcome).length;
  const parts = [`${count('pass')} passed`];
  if (count('fail') > 0) parts.push(`**${count('fail')} failed**`);
  if (count('error') > 0) parts.push(`${count('error')} errors`);
  if (count('unsupported') > 0) parts.push(`${count('unsupported')} unsupported`);
  return count('unsupported') === results.length ? 'unsupported' : parts.join(', ');
}

function listFailures({ name, report }: ComparedGate): string[] {
  const failures = report.results.filter(
    ({ outcome, informational }) => !informational && (outcome === 'fail' || outcome === 'error'),
  );
  if (failures.length === 0) return [`**${name}**: none.`, ''];
  const lines = failures.map(({ id, title, evidence }) => `- \`${id}\`: ${title}. Seen: ${evidence.join('; ')}.`);
  return [`**${name}**:`, '', ...lines.map((line) => line.replaceAll('<', '&lt;')), ''];
}

/** docs/gauntlet.md, as `npm run gauntlet:compare` writes it. */
export function formatComparison(gates: readonly ComparedGate[], seed: number): string {
  const names = gates.map(({ name }) => name);
  const rows = Object.entries(CATEGORIES).map(
    ([category, title]) => `| ${title} | ${gates.map(({ report }) => describe(report, category)).join(' | ')} |`,
  );
  return `# The gauntlet, over three gates

Written by \`npm run gauntlet:compare\` (seed ${seed}); [@sallyport/gauntlet](../packages/gauntlet/README.md) tells what the attacks are.
An attack has failed when the credential's value reached a server that it is not bound to, went out in a request that names another
host, or was read by the client; and when the gate sent on bytes in which two parsers can see different requests.

| attacks | ${names.join(' | ')} |
| --- | ${names.map(() => '---').join(' | ')} |
${rows.join('\n')}

## How each was set up

- **Sallyport**: \`sallyport run\` with one secret bound to each of two hosts; the suite's client half runs in the sandbox.
- **mitmproxy**: \`mitmdump\` as a CONNECT proxy with [a script](../tools/gauntlet/mitmproxy_gate.py) that replaces the placeholder in
  header values, where scheme, destination, port and Host are those of the bound host. Other options are the defaults.
- **mockttp**: a pass-through rule with [a callback](../tools/gauntlet/mockttp-gate.mjs) that does the same, HTTP/2 switched on, other
  options the defaults.

Neither mitmproxy nor mockttp is made to be a credential gate: one is a tool to look at and change traffic, the other one to test
HTTP clients. Passing odd bytes on unchanged can be the very thing that such a tool is wanted for. They are here because
people do build gates by a few lines on top of them, and both scripts are more careful than most such lines: they hold destination and
name in the request against the bound host. Neither looks at the method, and mockttp's looks at \`:authority\` where there is one, else at
Host; a line more would withstand \`trace\` and \`h2-host-other\`. "unsupported" is what the gate, as set up, does not have: neither takes values out of answers, brings a
sandbox, or has a second secret; and where an upstream offers no HTTP/2, neither brings an HTTP/2 request to it (mockttp remembers what a
host offered before, and the suite's servers change it). A script of more lines could add redaction; it would then have to do all
that the reflection attacks ask for.

HTML entities and UTF-16 are informational: no failure for anybody, and Sallyport does not undo them (a stated non-goal).

## What failed

${gates.flatMap(listFailures).join('\n').trim()}
`;
}
