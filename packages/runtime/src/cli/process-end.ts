/** Waits until what was written is with the reader; one that is gone is no reason to wait. */
async function flush(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0) return;
  await new Promise<void>((resolve) => {
    stream.once('error', () => resolve());
    stream.write('', () => resolve());
  });
}

/** Runs the command line, and then ends the process, whatever a library has left open: the command is over, its status is known. */
export async function runToEnd(main: (argv: readonly string[]) => Promise<number>): Promise<never> {
  const status = await main(process.argv.slice(2));
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(status);
}
