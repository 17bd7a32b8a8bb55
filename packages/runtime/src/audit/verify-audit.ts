import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { SallyportError } from '@sallyport/sdk';

import { auditKeyId, auditPaths, findAuditHead, readAuditHead, readAuditKey } from './audit-state.ts';
import type { AuditHead, AuditPaths } from './audit-state.ts';
import { CHAIN_START, chainMac, splitLine } from './chain.ts';

/** The longest line that is looked at; Sallyport's own have some KiB. */
export const MAX_AUDIT_LINE_BYTES = 1024 * 1024;
/** Problems that are listed; the rest is counted. */
const MAX_LISTED_PROBLEMS = 1000;
/** How far back a line may have been moved and still be checked against the one that it followed. */
const REMEMBERED_MACS = 4096;
/** Gaps that are told apart; a file with more is not worth telling apart any more. */
const MAX_GAPS = 1000;
const LINE_FEED = 0x0a;

/** What can be wrong with a log. */
export type AuditProblemKind =
  /** The line is not what was written. */
  | 'changed'
  /** Lines that were written before this one are missing. */
  | 'removed'
  /** The line stands in another place than where it was written, or once more. */
  | 'reordered'
  /** Lines at the end are missing, or half of the last one. */
  | 'truncated'
  /** The line is no JSON object with a number. */
  | 'not-json'
  /** The line is longer than {@link MAX_AUDIT_LINE_BYTES}. */
  | 'too-long'
  /** Key or head are not in this state directory: changes and a missing end would not show. */
  | 'unanchored';

export interface AuditProblem {
  readonly kind: AuditProblemKind;
  /** Counted from 1; null where it is about the whole file. */
  readonly line: number | null;
  /** In words; nothing in it comes from the file but numbers. */
  readonly detail: string;
}

export interface AuditVerification {
  /** No problem at all. */
  readonly ok: boolean;
  readonly lines: number;
  /** The first {@link MAX_LISTED_PROBLEMS}, in the order of the lines. */
  readonly problems: readonly AuditProblem[];
  readonly problemCount: number;
}

/**
 * Verifies an audit log against the key and the last head in the state directory; reads it once, in bounded memory.
 *
 * A log that is being written at the same time can be verified. Lines after the head are fine if they continue the chain: a crash may
 * have come between the two. A log that was moved or copied is known by its first line.
 *
 * @throws SallyportError UNREADABLE_FILE if the file cannot be read
 */
export async function verifyAudit(options: { file: string; stateDirectory: string }): Promise<AuditVerification> {
  const paths = auditPaths(options.stateDirectory);
  try {
    const file = await realpath(resolve(options.file));
    if (!(await stat(file)).isFile()) {
      throw unreadable(options.file, 'it is no regular file');
    }
    const key = await readAuditKey(paths).catch(() => null);
    // The head comes first: a log that is being written only grows.
    const head = await readAuditHead(paths, file).catch(() => null);
    const verifier = new Verifier(key, head, paths);
    for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 })) {
      await verifier.push(chunk as Buffer);
    }
    return await verifier.finish();
  } catch (error) {
    if (error instanceof SallyportError) {
      throw error;
    }
    const code = (error as { code?: unknown }).code;
    throw unreadable(options.file, typeof code === 'string' ? code : 'unknown error');
  }
}

function unreadable(file: string, why: string): SallyportError {
  return new SallyportError(
    'UNREADABLE_FILE',
    `The audit file ${JSON.stringify(file)} could not be read (${why}); check the path and its permissions`,
  );
}

/** A line as far as it can be understood by itself. */
interface Line {
  readonly number: number;
  readonly kind: 'event' | 'not-json' | 'too-long';
  /** 0 where there is none. */
  readonly seq: number;
  readonly parts: { readonly text: Buffer; readonly mac: string } | null;
}

interface Gap {
  from: number;
  to: number;
  /** The line before which it is. */
  readonly line: number;
}

class Verifier {
  readonly #key: Buffer | null;
  readonly #paths: AuditPaths;
  #head: AuditHead | null;
  #problems: AuditProblem[] = [];
  #problemCount = 0;

  #partial: Buffer[] = [];
  #partialLength = 0;
  #lines = 0;
  /** The line that waits for the number of the next one: that tells a changed number from a missing line. */
  #waiting: Line | undefined;

  /** The number that the next line should have. */
  #expected = 1;
  /** Which macs the line with a number may be chained to its follower by: the one it has, and the one it should have. */
  readonly #macs = new Map<number, readonly string[]>([[0, [CHAIN_START]]]);
  #gaps: Gap[] = [];
  #headMacSeen: string | null = null;

  constructor(key: Buffer | null, head: AuditHead | null, paths: AuditPaths) {
    this.#key = key;
    this.#head = head;
    this.#paths = paths;
  }

  async push(chunk: Buffer): Promise<void> {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      this.#keep(chunk.subarray(start, end));
      await this.#endLine();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  async finish(): Promise<AuditVerification> {
    if (this.#partialLength > 0) {
      this.#lines += 1;
      this.#report('truncated', this.#lines, 'the last line ends in the middle');
    }
    if (this.#waiting !== undefined) {
      this.#judge(this.#waiting, null);
    }
    for (const gap of this.#gaps) {
      this.#report('removed', gap.line, `${range(gap.from, gap.to)} missing before this one`);
    }
    this.#compareWithHead();
    this.#problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
    return {
      ok: this.#problemCount === 0,
      lines: this.#lines,
      problems: this.#problems,
      problemCount: this.#problemCount,
    };
  }

  #keep(part: Buffer): void {
    this.#partialLength += part.length;
    if (this.#partialLength <= MAX_AUDIT_LINE_BYTES) {
      this.#partial.push(part);
    } else {
      this.#partial = [];
    }
  }

  async #endLine(): Promise<void> {
    this.#lines += 1;
    const line =
      this.#partialLength > MAX_AUDIT_LINE_BYTES
        ? ({ number: this.#lines, kind: 'too-long', seq: 0, parts: null } as const)
        : readLine(
            this.#partial.length === 1 ? (this.#partial[0] as Buffer) : Buffer.concat(this.#partial),
            this.#lines,
          );
    this.#partial = [];
    this.#partialLength = 0;
    if (this.#lines === 1 && this.#head === null && line.parts !== null) {
      this.#head = await findAuditHead(this.#paths, line.parts.mac);
    }
    if (this.#waiting !== undefined) {
      this.#judge(this.#waiting, line.seq);
    }
    // The text is a view of the chunk, or a copy of some bytes: one line is kept, not the file.
    this.#waiting = line;
  }

  #judge(line: Line, nextSeq: number | null): void {
    const isInPlace = nextSeq === this.#expected + 1;
    if (line.kind !== 'event') {
      this.#report(
        line.kind,
        line.number,
        line.kind === 'too-long' ? 'longer than 1 MiB' : 'not a line of an audit log',
      );
      if (isInPlace) {
        this.#expected += 1;
      }
      return;
    }
    if (line.seq === this.#expected) {
      this.#check(line, line.seq);
      this.#expected += 1;
    } else if (isInPlace) {
      // Its follower is right, so the line is where it should be and its number is wrong.
      this.#check(line, this.#expected);
      this.#expected += 1;
    } else if (line.seq > this.#expected) {
      this.#openGap(this.#expected, line.seq - 1, line.number);
      this.#check(line, line.seq);
      this.#expected = line.seq + 1;
    } else {
      const wasMissing = this.#closeGap(line.seq);
      this.#report('reordered', line.number, wasMissing ? `written as number ${line.seq}` : `number ${line.seq} again`);
      if (wasMissing) {
        this.#check(line, line.seq);
      }
    }
  }

  /** Checks a line that stands for number `seq`, and remembers its mac for its follower. */
  #check(line: Line, seq: number): void {
    const { parts } = line;
    if (parts === null) {
      this.#report('changed', line.number, 'it has no mac');
      return;
    }
    const macs = [parts.mac];
    // Without a key nothing can be said. Without the mac of the line before neither; why that is unknown has been reported.
    const previous = this.#macs.get(seq - 1);
    if (this.#key !== null && previous !== undefined) {
      const right = previous.map((mac) => chainMac(this.#key as Buffer, mac, parts.text));
      if (!right.includes(parts.mac) || line.seq !== seq) {
        this.#report('changed', line.number, 'its mac does not belong to what it says');
        macs.push(...right.slice(0, 1));
      }
    } else if (line.seq !== seq) {
      this.#report('changed', line.number, `its number is ${line.seq} instead of ${seq}`);
    }
    this.#macs.set(seq, macs);
    for (const oldest of this.#macs.keys()) {
      if (this.#macs.size <= REMEMBERED_MACS) {
        break;
      }
      this.#macs.delete(oldest);
    }
    if (seq === this.#head?.seq) {
      this.#headMacSeen = parts.mac;
    }
  }

  #openGap(from: number, to: number, line: number): void {
    if (this.#gaps.length < MAX_GAPS) {
      this.#gaps.push({ from, to, line });
    } else {
      this.#report('removed', line, `${range(from, to)} missing before this one`);
    }
  }

  #closeGap(seq: number): boolean {
    const index = this.#gaps.findIndex((gap) => gap.from <= seq && seq <= gap.to);
    const gap = this.#gaps[index];
    if (gap === undefined) {
      return false;
    }
    const rest: Gap[] = [];
    if (gap.from < seq) {
      rest.push({ ...gap, to: seq - 1 });
    }
    if (seq < gap.to) {
      rest.push({ ...gap, from: seq + 1 });
    }
    this.#gaps.splice(index, 1, ...rest);
    return true;
  }

  #compareWithHead(): void {
    const head = this.#head;
    if (this.#key === null) {
      this.#report('unanchored', null, 'the key is not in this state directory: a changed line would not show');
      return;
    }
    if (head === null) {
      this.#report(
        'unanchored',
        null,
        'this state directory does not know the log: missing lines at its end would not show',
      );
      return;
    }
    if (head.keyId !== auditKeyId(this.#key)) {
      this.#report('unanchored', null, 'the log was written with another key than the state directory holds');
      return;
    }
    if (this.#expected <= head.seq) {
      this.#report(
        'truncated',
        this.#lines === 0 ? null : this.#lines,
        `${range(this.#expected, head.seq)} missing at the end`,
      );
    } else if (head.seq > 0 && this.#headMacSeen !== null && this.#headMacSeen !== head.mac) {
      this.#report('changed', null, `line number ${head.seq} is not the one that was written last`);
    }
  }

  #report(kind: AuditProblemKind, line: number | null, detail: string): void {
    this.#problemCount += 1;
    if (this.#problems.length < MAX_LISTED_PROBLEMS) {
      this.#problems.push({ kind, line, detail });
    }
  }
}

function range(from: number, to: number): string {
  return from === to ? `number ${from} is` : `numbers ${from} to ${to} are`;
}

function readLine(bytes: Buffer, number: number): Line {
  let seq: unknown;
  try {
    const event = JSON.parse(bytes.toString('utf8')) as unknown;
    seq = typeof event === 'object' && event !== null ? (event as { seq?: unknown }).seq : undefined;
  } catch {
    seq = undefined;
  }
  const parts = splitLine(bytes);
  return typeof seq === 'number' && Number.isSafeInteger(seq) && seq > 0
    ? { number, kind: 'event', seq, parts }
    : { number, kind: 'not-json', seq: 0, parts };
}
