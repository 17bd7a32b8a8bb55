// A process that writes to a book: `node secret-book-writer.testing.ts STATE MODE …`. Each line that it prints is a write that was acknowledged.
import { createHash } from 'node:crypto';
import { SecretBook, type SecretDraft } from './secret-book.ts';

/** A secret of the global scope, as far as the tests care. */
export function draftSecret(name: string, change: Partial<SecretDraft> = {}): SecretDraft {
  return {
    scope: { kind: 'global' },
    name,
    kind: 'custom',
    env: name,
    hosts: ['api.example.com'],
    locations: ['header'],
    methods: [],
    path: null,
    onViolation: 'pass',
    placeholder: null,
    source: { kind: 'value' },
    refreshMs: null,
    ...change,
  };
}

/** A value of some length that tells its number, and whether it is whole. */
export function numberedValue(number: number): Uint8Array {
  const text = `${number}:`.padEnd(2_000 + (number % 7) * 500, String(number));
  return new TextEncoder().encode(`${text}:${digest(text)}`);
}

/** The number of a value. @throws Error when it is torn */
export function readNumberedValue(value: Uint8Array): number {
  const all = new TextDecoder().decode(value);
  const text = all.slice(0, all.lastIndexOf(':'));
  if (digest(text) !== all.slice(text.length + 1)) throw new Error('the value is torn');
  return Number.parseInt(text, 10);
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(stateDirectory: string, mode: string, ...operands: string[]): Promise<void> {
  const environment = process.env;
  switch (mode) {
    // WRITERS ROUNDS PREFIX: that many at once, each its own secret and one that all share.
    case 'many': {
      const book = await SecretBook.open({ stateDirectory, environment, store: 'file' });
      const [writers = '', rounds = '', prefix = ''] = operands;
      const write = async (writer: number): Promise<void> => {
        for (let round = 1; round <= Number(rounds); round += 1) {
          // oxlint-disable-next-line no-await-in-loop
          await book.set(draftSecret(`${prefix}${writer}`), numberedValue(round));
          say(`${prefix}${writer} ${round}`);
          // oxlint-disable-next-line no-await-in-loop
          await book.set(draftSecret('SHARED'), numberedValue(writer * 1_000 + round));
        }
      };
      await Promise.all(Array.from({ length: Number(writers) }, async (_, writer) => await write(writer)));
      await book.close();
      return;
    }
    // STEP NUMBER: is killed right after that step of one write.
    case 'die': {
      const [step = '', number = ''] = operands;
      const book = await SecretBook.open({
        stateDirectory,
        environment,
        store: 'file',
        onStep: (reached) => void (reached === step && process.kill(process.pid, 'SIGKILL')),
      });
      await book.set(draftSecret('A'), numberedValue(Number(number)));
      say('survived');
      return;
    }
    // FROM: writes higher and higher numbers until it is killed.
    case 'forever': {
      const book = await SecretBook.open({ stateDirectory, environment, store: 'file' });
      for (let number = Number(operands[0]); ; number += 1) {
        // oxlint-disable-next-line no-await-in-loop
        await book.set(draftSecret('A'), numberedValue(number));
        say(String(number));
      }
    }
    // BYTES: one value of so many bytes; prints the code and the message of what comes of it.
    case 'once': {
      try {
        const book = await SecretBook.open({ stateDirectory, environment, store: 'file' });
        await book.set(draftSecret('A'), new Uint8Array(Number(operands[0])).fill(65));
        say('done');
      } catch (error) {
        say(error instanceof Error && 'code' in error ? `${String(error.code)} ${error.message}` : String(error));
      }
      return;
    }
    default:
      throw new Error(`there is no mode ${mode}`);
  }
}

if (import.meta.main) {
  const [stateDirectory = '', mode = '', ...operands] = process.argv.slice(2);
  await main(stateDirectory, mode, ...operands);
}
