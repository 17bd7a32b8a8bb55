import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError, type AuditEvent, type SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { AuditTail } from '../audit/audit-tail.ts';
import { daemonPaths } from '../daemon/paths.ts';
import { formatHostAndPort } from '../policy/host-name.ts';
import { connectIfThere, writeOut } from './daemon-connection.ts';
import { readScope } from './secret-scope.ts';
import { formatMoment, formatTable, showText } from './table.ts';

/** Without a sandbox's name the logs of so many runs and sandboxes are read, the newest. */
const MAX_RECENT_FILES = 100;
/** The most events that are held at a time; of more, the newest. */
const MAX_EVENTS = 100_000;
const FOLLOW_INTERVAL_MS = 250;

/** An event as `policy log --json` prints it: what of an audit event tells who was let where, and why. Fields are added, never renamed. */
type LoggedEvent = Pick<
  AuditEvent,
  'time' | 'sandbox' | 'kind' | 'decision' | 'code' | 'rule' | 'scheme' | 'host' | 'port' | 'method' | 'path' | 'status' | 'secrets'
>; // prettier-ignore

interface LogFlags {
  readonly json?: boolean;
  readonly follow?: boolean;
  readonly tail?: string;
  readonly audit?: readonly string[];
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport policy log`. */
export function addPolicyLogCommand(policy: Command): void {
  policy
    .command('log')
    .summary('tell what was allowed and denied')
    .description(
      'Tell what was allowed and denied, from the audit logs: of one sandbox by its name, or of the recent runs and sandboxes. One line for each ' +
        'destination and rule, the latest last; with --json or --follow one for each event.',
    )
    .argument('[name]', 'the sandbox, or the --name of a run (default: recent ones)')
    .option('-f, --follow', 'go on with what will happen')
    .option('-n, --tail <count>', 'only the last so many lines')
    .option('--audit <file>', 'an audit log that was put elsewhere, alone; repeatable', collect)
    .option('--json', 'print each event as a line of JSON')
    .action(async (word: string | undefined, flags: LogFlags) => {
      const sandbox = readScope(word === undefined ? [] : [word], {}) ?? null;
      const count = flags.tail === undefined ? Number.POSITIVE_INFINITY : readCount(flags.tail);
      const logs = new AuditLogs(sandbox, flags.audit);
      const events = await logs.read();
      if (logs.isEmpty && flags.follow !== true && sandbox !== null) {
        throw new SallyportError(
          'SANDBOX_NOT_FOUND',
          `There is no audit log of a sandbox or run ${JSON.stringify(sandbox)}. "sallyport policy log" tells of recent ones.`,
        );
      }
      if (flags.json === true) {
        for (const event of lastOf(events, count)) await writeOut(process.stdout, `${JSON.stringify(event)}\n`);
      } else {
        process.stdout.write(describeEvents(events, count));
      }
      while (flags.follow === true) {
        // oxlint-disable-next-line no-await-in-loop -- until somebody ends the process.
        await new Promise((resolve) => setTimeout(resolve, FOLLOW_INTERVAL_MS));
        // oxlint-disable-next-line no-await-in-loop -- as above
        for (const event of await logs.read()) {
          // oxlint-disable-next-line no-await-in-loop -- as above
          await writeOut(process.stdout, flags.json === true ? `${JSON.stringify(event)}\n` : describeEvent(event));
        }
      }
    });
}

function readCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new SallyportError('USAGE', '--tail takes a whole number, such as 100.');
}

/** The audit logs of one sandbox, or of recent ones; those that come to be while it is read as well. */
class AuditLogs {
  readonly #sandbox: string | null;
  readonly #files: readonly string[] | undefined;
  readonly #directory = daemonPaths(process.env).audit;
  readonly #tails = new Map<string, AuditTail>();
  #isAsked = false;
  /** The name of the first file that is read; null before the first time. */
  #oldest: string | null = null;

  /** @param files only these; undefined for those that are found. */
  constructor(sandbox: string | null, files: readonly string[] | undefined) {
    this.#sandbox = sandbox;
    this.#files = files;
  }

  /** Whether no log was found so far. */
  get isEmpty(): boolean {
    return this.#tails.size === 0;
  }

  /** What was recorded since the last time, in its order. */
  async read(): Promise<LoggedEvent[]> {
    const elsewhere = await this.#elsewhere();
    for (const file of this.#files ?? [...elsewhere, ...this.#inDirectory()]) {
      if (!this.#tails.has(file)) this.#tails.set(file, new AuditTail(file));
    }
    const events: LoggedEvent[] = [];
    for (const tail of this.#tails.values()) {
      for (const event of tail.read()) {
        if (this.#sandbox !== null && event.sandbox !== this.#sandbox) continue;
        events.push(loggedOf(event));
        if (events.length >= 2 * MAX_EVENTS) keepNewest(events);
      }
    }
    keepNewest(events);
    return events;
  }

  /** Those at their usual place; file names begin with a time. */
  #inDirectory(): string[] {
    let names: string[];
    try {
      names = readdirSync(this.#directory).filter((name) => name.endsWith('.jsonl'));
    } catch {
      // Nothing has run yet.
      return [];
    }
    const ending = this.#sandbox === null ? '.jsonl' : `-${this.#sandbox}.jsonl`;
    const wanted = names.filter((name) => name.endsWith(ending)).toSorted();
    this.#oldest ??= (this.#sandbox === null ? wanted.at(-MAX_RECENT_FILES) : undefined) ?? '';
    const oldest = this.#oldest;
    return wanted.filter((name) => name >= oldest).map((name) => join(this.#directory, name));
  }

  /** Those of sandboxes whose log was put elsewhere. */
  async #elsewhere(): Promise<string[]> {
    if (this.#isAsked) return [];
    this.#isAsked = true;
    const client = await connectIfThere();
    if (client === undefined) return [];
    const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
    return sandboxes
      .filter(({ name }) => this.#sandbox === null || name === this.#sandbox)
      .map(({ auditFile }) => auditFile)
      .filter((file) => !file.startsWith(`${this.#directory}/`));
  }
}

function keepNewest(events: LoggedEvent[]): void {
  events.sort((one, other) => (one.time < other.time ? -1 : one.time > other.time ? 1 : 0));
  if (events.length > MAX_EVENTS) events.splice(0, events.length - MAX_EVENTS);
}

function lastOf<T>(items: readonly T[], count: number): readonly T[] {
  return items.length <= count ? items : items.slice(items.length - count);
}

function loggedOf(event: AuditEvent): LoggedEvent {
  const { time, sandbox, kind, decision, code, rule, scheme, host, port, method, path, status, secrets } = event;
  return { time, sandbox, kind, decision, code, rule, scheme, host, port, method, path, status, secrets };
}

/** One row for each sandbox, destination, decision and reason: how often, and when last. */
function describeEvents(events: readonly LoggedEvent[], count: number): string {
  const rows = new Map<string, { last: LoggedEvent; count: number }>();
  for (const event of events) {
    const key = JSON.stringify([event.sandbox, event.decision, destinationOf(event), whyOf(event)]);
    const known = rows.get(key);
    // In the order of their last event.
    rows.delete(key);
    rows.set(key, { last: event, count: (known?.count ?? 0) + 1 });
  }
  return formatTable([
    ['LAST', 'COUNT', 'SANDBOX', 'DECISION', 'DESTINATION', 'WHY'],
    ...lastOf([...rows.values()], count).map(({ last, count: times }) => [
      formatMoment(last.time),
      String(times),
      last.sandbox,
      last.decision,
      destinationOf(last),
      whyOf(last),
    ]),
  ]);
}

function describeEvent(event: LoggedEvent): string {
  const request = event.method === null ? '' : `${event.method} ${event.path ?? ''}`;
  const words = [formatMoment(event.time), event.sandbox, event.decision, hostOf(event), request, whyOf(event)];
  return `${showText(words.filter((word) => word !== '').join('  '))}\n`;
}

/** Where it went; for requests about which method and path decided, those as well. */
function destinationOf(event: LoggedEvent): string {
  return event.code === 'REQUEST_DENIED' ? `${hostOf(event)} ${event.method} ${event.path}` : hostOf(event);
}

function hostOf({ host, port }: LoggedEvent): string {
  if (host === null) return '';
  return port === null ? host : formatHostAndPort(host, port);
}

function whyOf({ rule, code }: LoggedEvent): string {
  return [rule ?? '', code === null ? '' : `[${code}]`].filter((part) => part !== '').join(' ');
}
