import { statSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';

/**
 * Refuses a file that a long-lived process must not open: it would wait at a pipe for ever, and read a device without end.
 *
 * @param what names the option, for the message.
 * @throws SallyportError UNREADABLE_FILE.
 */
export function requireRegularFile(path: string, what: string): void {
  const status = statSync(path, { throwIfNoEntry: false });
  // One that is not there is told of by whoever reads it.
  if (status === undefined || status.isFile()) return;
  throw new SallyportError(
    'UNREADABLE_FILE',
    `${what}: ${JSON.stringify(path)} is not a file. The daemon reads regular files alone: copy it into one.`,
  );
}
