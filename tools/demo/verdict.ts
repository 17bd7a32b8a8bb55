import { findCanary } from '../../e2e/harness/canary.ts';

/** What was seen of one client, before any judgement. */
export interface Observation {
  readonly client: string;
  /** Why the client did not run at all, or how it ended when it failed. */
  readonly failure?: string | undefined;
  /** Value of the credential's variable in the sandbox. */
  readonly held: string;
  /** The whole environment of the sandbox. */
  readonly environment: string;
  /** The credentials that the upstream received, requests without one left out. */
  readonly received: readonly string[];
  /** What came back from the endpoint that repeats the credential after `you sent `. */
  readonly echoed: string;
  /** What the client printed for the unlisted host. */
  readonly unlisted: string;
  /** Where the real value, or an encoding of it, was found: output, audit log, state, workspace, processes inside. */
  readonly leaks: readonly string[];
  /** How many processes inside were looked at. */
  readonly watchedProcessCount: number;
}

/** One cell of the table: the text to show and, when it is not as promised, what is wrong. */
export interface Cell {
  readonly text: string;
  readonly fault?: string;
}

/** A client's row: its name, the four cells, and what else is wrong with it. */
export interface Verdict {
  readonly client: string;
  readonly cells: readonly [held: Cell, received: Cell, echoed: Cell, unlisted: Cell];
  readonly faults: readonly string[];
}

const SHOWN_CHARACTERS = 4;
const MAX_CELL_CHARACTERS = 20;

/** Shows that a value is there without showing it. */
export function mask(value: string): string {
  if (value.length < 4 * SHOWN_CHARACTERS) return '•'.repeat(value.length);
  return `${value.slice(0, SHOWN_CHARACTERS)}••••••••${value.slice(-SHOWN_CHARACTERS)}`;
}

function shorten(text: string): string {
  const line = text.trim().split('\n')[0] ?? '';
  if (line.length <= MAX_CELL_CHARACTERS) return line === '' ? '(nothing)' : line;
  return `${line.slice(0, MAX_CELL_CHARACTERS - 7)}…${line.slice(-6)}`;
}

function cell(text: string, fault: string | undefined): Cell {
  return fault === undefined ? { text } : { text, fault };
}

function judgeHeld(seen: Observation, real: string): Cell {
  const isReal = findCanary({ value: real }, seen.held).length > 0;
  const text = isReal ? 'THE REAL VALUE' : shorten(seen.held);
  if (isReal) return cell(text, 'the variable in the sandbox holds the real value');
  if (findCanary({ value: real }, seen.environment).length > 0) {
    return cell(text, 'another variable in the sandbox holds the real value');
  }
  return cell(text, seen.held.trim() === '' ? 'the variable in the sandbox is empty' : undefined);
}

function judgeReceived(seen: Observation, real: string): Cell {
  const [first] = seen.received;
  if (first === undefined) return cell('(nothing)', 'the upstream received no credential');
  const foreign = seen.received.find((value) => value !== real);
  if (foreign === undefined) return cell(mask(first), undefined);
  return cell(shorten(foreign), 'the upstream received something else than the real value');
}

function judgeEchoed(seen: Observation, real: string): Cell {
  if (findCanary({ value: real }, seen.echoed).length > 0) {
    return cell('THE REAL VALUE', 'the echo brought the real value into the sandbox');
  }
  const echoed = /you sent (\S*)/.exec(seen.echoed)?.[1]?.replace(/["}]*$/, '') ?? '';
  const fault = echoed !== '' && echoed === seen.held.trim() ? undefined : 'the echo is not the placeholder';
  return cell(shorten(echoed), fault);
}

function judgeUnlisted(seen: Observation): Cell {
  if (!/\b403\b/.test(seen.unlisted)) return cell(shorten(seen.unlisted), 'the unlisted host did not answer 403');
  const code = /HOST_DENIED/.exec(seen.unlisted)?.[0];
  return cell(code === undefined ? '403' : `403 ${code}`, undefined);
}

/** Judges what was seen of one client. A cell without `fault` is right. */
export function judge(seen: Observation, real: string): Verdict {
  const faults = [
    ...(seen.failure === undefined ? [] : [seen.failure]),
    ...seen.leaks.map((place) => `the real value was found in ${place}`),
    ...(seen.watchedProcessCount > 0 ? [] : ['no process inside the sandbox was seen']),
  ];
  return {
    client: seen.client,
    cells: [judgeHeld(seen, real), judgeReceived(seen, real), judgeEchoed(seen, real), judgeUnlisted(seen)],
    faults,
  };
}

/** Everything that is wrong, a line each; empty when all is as promised. */
export function listFaults(verdicts: readonly Verdict[]): string[] {
  return verdicts.flatMap(({ client, cells, faults }) =>
    [...cells.flatMap(({ fault }) => fault ?? []), ...faults].map((fault) => `${client}: ${fault}`),
  );
}
