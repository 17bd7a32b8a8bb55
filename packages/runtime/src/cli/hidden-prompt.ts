import { createInterface } from 'node:readline/promises';
import { SallyportError } from '@sallyport/sdk';

/** The most that is read, in bytes; values have 64 KiB at most. */
const MAX_INPUT_BYTES = 128 * 1024;
/** The status of a program that Ctrl-C has ended, as a shell gives it. */
const INTERRUPTED_STATUS = 130;

/** Whether there is somebody to ask, who sees the question. */
export function hasTerminal(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/**
 * A secret's value: typed where standard input is a terminal, and then never shown, also where the question goes elsewhere; else what is piped in.
 *
 * @param ask asks at the terminal.
 * @throws SallyportError INVALID_SECRET_VALUE, ABORTED
 */
export async function readSecretValue(what: string, ask: () => Promise<string>): Promise<string> {
  return process.stdin.isTTY ? await ask() : await readStandardInput(what);
}

/**
 * Asks for a line at the terminal without showing it. The terminal is as it was when this is done, whatever ends it; Ctrl-C ends the program.
 *
 * @param isLast whether no question follows that what is typed ahead could answer.
 * @throws SallyportError ABORTED for Ctrl-D; INVALID_SECRET_VALUE for several lines at once as the last answer.
 */
export async function askHidden(question: string, isLast: boolean): Promise<string> {
  const { stdin, stderr } = process;
  // Before the question is there to be answered, or the terminal shows what is typed at once.
  stdin.setRawMode(true);
  stderr.write(question);
  stdin.resume();
  const reader = new LineReader();
  try {
    return await new Promise<string>((resolve, reject) => {
      stdin.on('data', (chunk: Buffer) => {
        for (const [index, byte] of chunk.entries()) {
          const outcome = reader.take(byte);
          if (outcome === 'more') continue;
          stdin.removeAllListeners('data');
          stdin.pause();
          const rest = chunk.subarray(index + 1);
          if (outcome === 'line' && isLast && hasText(rest)) {
            reject(invalid(SEVERAL_LINES));
            return;
          }
          // What was typed ahead answers the next question.
          if (rest.length > 0) stdin.unshift(rest);
          if (outcome === 'line') resolve(reader.text);
          else if (outcome === 'interrupted') {
            stdin.setRawMode(false);
            stderr.write('\n');
            process.exit(INTERRUPTED_STATUS);
          } else reject(new SallyportError('ABORTED', 'Nothing was stored.'));
          return;
        }
      });
      stdin.once('end', () => reject(new SallyportError('ABORTED', 'Nothing was stored: the terminal has gone.')));
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

const SEVERAL_LINES =
  'More than one line was pasted, and nothing was stored. Pipe a value of several lines in: sallyport … < FILE.';

/** Whether something but the rest of a line break, or of the bracket around a paste, follows a line: it would be lost, or be the shell's. */
function hasText(rest: Buffer): boolean {
  // oxlint-disable-next-line no-control-regex -- the end of a bracketed paste
  return rest.toString('latin1').replace(/^\n?(?:\u001b\[201~)?[\r\n]*$/, '') !== '';
}

const KEYS = {
  interrupt: 0x03,
  end: 0x04,
  backspace: 0x08,
  newline: 0x0a,
  return: 0x0d,
  killLine: 0x15,
  escape: 0x1b,
  delete: 0x7f,
} as const;

/** One line as it is typed or pasted: keys that edit are obeyed, escape sequences (those around a paste, too) are left out. */
export class LineReader {
  readonly #bytes: number[] = [];
  #escape: 'none' | 'begun' | 'sequence' = 'none';

  get text(): string {
    return Buffer.from(this.#bytes).toString('utf8');
  }

  take(byte: number): 'more' | 'line' | 'interrupted' | 'ended' {
    if (this.#escape === 'begun') {
      this.#escape = byte === 0x5b || byte === 0x4f ? 'sequence' : 'none';
      return 'more';
    }
    if (this.#escape === 'sequence') {
      if (byte >= 0x40 && byte <= 0x7e) this.#escape = 'none';
      return 'more';
    }
    switch (byte) {
      case KEYS.interrupt:
        return 'interrupted';
      case KEYS.end:
        return this.#bytes.length === 0 ? 'ended' : 'line';
      case KEYS.newline:
      case KEYS.return:
        return 'line';
      case KEYS.backspace:
      case KEYS.delete:
        // A whole character: its continuation bytes first.
        while (((this.#bytes.at(-1) ?? 0) & 0xc0) === 0x80) this.#bytes.pop();
        this.#bytes.pop();
        return 'more';
      case KEYS.killLine:
        this.#bytes.length = 0;
        return 'more';
      case KEYS.escape:
        this.#escape = 'begun';
        return 'more';
      default:
        if (this.#bytes.length < MAX_INPUT_BYTES) this.#bytes.push(byte);
        return 'more';
    }
  }
}

/**
 * Reads standard input to its end, without the line break at the end.
 *
 * @throws SallyportError INVALID_SECRET_VALUE when it is empty, too long or no UTF-8.
 */
async function readStandardInput(what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_INPUT_BYTES) throw invalid(`${what} is too long: 64 KiB are possible.`);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  for (const chunk of chunks) chunk.fill(0);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(`${what}: standard input is no UTF-8 text. Encode it, as base64 say, where its host takes that.`);
  } finally {
    bytes.fill(0);
  }
  const value = text.replace(/\r?\n$/, '');
  if (value === '') {
    throw invalid(`${what}: standard input is empty. Pipe the value in: printf %s "$VALUE" | sallyport …`);
  }
  return value;
}

function invalid(message: string): SallyportError {
  return new SallyportError('INVALID_SECRET_VALUE', message);
}

/** Asks a question that only "y" and "yes" answer with yes. */
export async function askYesNo(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(?:es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } catch {
    // Control-D, Control-C.
    process.stderr.write('\n');
    return false;
  } finally {
    terminal.close();
  }
}
