import type { ChildProcess } from 'node:child_process';
import { closeSync, readFileSync } from 'node:fs';
import type { Holder } from './holder.ts';
import { systemCalls } from './system-calls.ts';

/** A socket to be: its family and whether it is TCP or UDP. */
export interface SocketKind {
  readonly family: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
}

/** Sockets that belong to an airlock's network, unbound. */
export interface SocketDonor {
  /**
   * Opens sockets in the airlock: descriptors of this process, in the order of `kinds`, the caller's to close.
   *
   * @throws Error where it cannot be done on this machine; nothing is left open.
   */
  open(kinds: readonly SocketKind[]): Promise<readonly number[]>;
  /** Ends the process inside; call it in any case. */
  close(): void;
}

/**
 * The program inside: for each line `FAMILY TYPE` it opens a socket, says its descriptor and keeps it until its input ends.
 * A socket belongs to the network namespace in which it was opened, whoever holds it later.
 */
const DONOR_PROGRAM = `
$| = 1;
my @sockets;
while (<STDIN>) {
  my ($family, $type) = split;
  socket(my $socket, $family, $type, 0) or exit 1;
  push @sockets, $socket;
  print fileno($socket), "\\n";
}
`;

// As the kernel numbers them, the same on x64 and arm64.
const FAMILIES = { 4: 2, 6: 10 } as const;
const TYPES = { tcp: 1, udp: 2 } as const;

/** As much as the numbers of all ports take, and more. */
const MAX_ANSWER_LENGTH = 1 << 20;

/**
 * Starts a process inside the airlock that opens sockets for this one. A Perl takes 5 ms of a processor for that, a Node 60.
 *
 * @param perl the path of Perl, which is an essential package of Debian and Ubuntu
 */
export function startSocketDonor(holder: Holder, perl: string): SocketDonor {
  const child = holder.enter([perl, '-e', DONOR_PROGRAM], { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin?.on('error', () => undefined);
  // From here on: a Perl that does not work ends long before it is asked for anything.
  const ended = new Promise<never>((_resolve, reject) => {
    const onEnd = (): void => reject(new Error('the helper that opens sockets ended'));
    child.once('error', onEnd).once('close', onEnd);
  });
  ended.catch(() => undefined);
  return {
    close: () => void child.stdin?.end(),
    async open(kinds) {
      const offered = await Promise.race([askFor(child, kinds), ended]);
      const calls = systemCalls();
      const process_ = openOnlyChild(child.pid ?? 0);
      const taken: number[] = [];
      try {
        for (const descriptor of offered) taken.push(calls.copyDescriptor(process_, descriptor));
        return taken;
      } catch (error) {
        for (const descriptor of taken) closeSync(descriptor);
        throw error;
      } finally {
        closeSync(process_);
      }
    },
  };
}

/** The donor's own descriptors, one for each kind; never settles where the donor ends. */
async function askFor(child: ChildProcess, kinds: readonly SocketKind[]): Promise<readonly number[]> {
  child.stdin?.write(kinds.map(({ family, protocol }) => `${FAMILIES[family]} ${TYPES[protocol]}\n`).join(''));
  return await new Promise((resolve, reject) => {
    let said = '';
    const onData = (text: string): void => {
      said += text;
      const lines = said.split('\n').slice(0, -1);
      if (lines.length < kinds.length && said.length < MAX_ANSWER_LENGTH) return;
      child.stdout?.off('data', onData);
      const descriptors = lines.map(Number);
      if (lines.length === kinds.length && descriptors.every((one) => Number.isSafeInteger(one) && one > 2)) {
        resolve(descriptors);
      } else reject(new Error('the helper that opens sockets said what is not understood'));
    };
    child.stdout?.setEncoding('latin1').on('data', onData);
  });
}

/**
 * Opens the program, which is a child of the process that was started: `nsenter` forks to enter the process id namespace.
 *
 * A process that is still its child when it has been opened is the one that was meant: the number cannot have been given to another since.
 */
function openOnlyChild(pid: number): number {
  const child = onlyChildOf(pid);
  const opened = systemCalls().openProcess(child);
  try {
    if (onlyChildOf(pid) === child) return opened;
  } catch {
    // It has ended.
  }
  closeSync(opened);
  throw new Error('the helper that opens sockets ended');
}

function onlyChildOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  const child = Number(text);
  if (text === '' || !Number.isSafeInteger(child)) throw new Error('the helper that opens sockets cannot be found');
  return child;
}
