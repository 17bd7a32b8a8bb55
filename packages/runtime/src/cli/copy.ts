import { SallyportError } from '@sallyport/sdk';
import type { Command } from 'commander';
import { SANDBOX_OPERAND, type Operand } from './copy-operand.ts';
import { connect } from './daemon-connection.ts';
import { showProgress } from './progress.ts';
import { formatBytes, showText } from './table.ts';

const COPY_EXAMPLES = `
Examples:
  sallyport cp worker:/tmp/report.html .              one file
  sallyport cp ./project worker:/home/user/           a directory, into that one
  sallyport cp worker:/var/log/app logs               a directory, as logs
  sallyport cp worker:/tmp/data.json - | jq .         a file to standard output
  sallyport cp --archive worker:/tmp/out - > out.tar  anything, as tar

Where the target is a directory, the copy lies in it; otherwise it has that name. Of a directory that is copied out,
links that lead out of it are left out, as are pipes and devices; nothing is written through a link. The files of a sandbox
are read by its own user. Exit status: 1 when something was left out.`;

/** Adds `sallyport cp`. Exit status: 1 when something was left out. */
export function addCopyCommand(program: Command, settle: (status: number) => void): void {
  program
    .command('cp')
    .usage('[options] NAME:PATH TARGET | SOURCE NAME:PATH')
    .summary('copy files between the host and a running sandbox')
    .description('Copy a file or a directory out of a running sandbox, or into it. "-" is standard input or output.')
    .argument('<source>', 'NAME:PATH, a path of the host, or -')
    .argument('<target>', 'NAME:PATH, a path of the host, or -')
    .option('-a, --archive', '"-" carries a tar archive instead of the bytes of one file')
    .addHelpText('after', COPY_EXAMPLES)
    .action(async (source: string, target: string, flags: { readonly archive?: boolean }) => {
      const [from, to] = [readOperand(source), readOperand(target)];
      if ((from.kind === 'sandbox') === (to.kind === 'sandbox')) {
        throw new SallyportError(
          'USAGE',
          'One of both must be in a sandbox, as NAME:PATH, and the other on the host. A host path with a colon is written ./a:b.',
        );
      }
      if (flags.archive === true && from.kind !== 'stream' && to.kind !== 'stream') {
        throw new SallyportError('USAGE', '--archive is for standard input or output: one of both must be "-".');
      }
      let bytes = 0;
      let leftOut = 0;
      const watch = {
        isArchive: flags.archive === true,
        onBytes: (count: number) => void (bytes += count),
        onLeftOut: (path: string, why: string) => {
          leftOut += 1;
          process.stderr.write(`sallyport: ${showText(path)} is left out: ${why}\n`);
        },
      };
      const client = await connect();
      const progress = showProgress(() => `copying, ${formatBytes(bytes)}`);
      try {
        if (from.kind === 'sandbox') {
          const { copyOut } = await import('./copy-out.ts');
          await copyOut(client, from, to, watch);
        } else if (to.kind === 'sandbox') {
          const { copyIn } = await import('./copy-in.ts');
          await copyIn(client, from, to, watch);
        }
      } finally {
        progress.end();
      }
      if (leftOut > 0) settle(1);
    });
}

/** `NAME:PATH` is a sandbox's where no slash comes before the colon. */
function readOperand(text: string): Operand {
  if (text === '') throw new SallyportError('USAGE', 'A path is empty.');
  if (text === '-') return { kind: 'stream' };
  const [, sandbox, path] = SANDBOX_OPERAND.exec(text) ?? [];
  if (sandbox === undefined || path === undefined) return { kind: 'host', path: text };
  if (!path.startsWith('/')) {
    throw new SallyportError('USAGE', `The path in the sandbox, ${JSON.stringify(path)}, must begin with "/".`);
  }
  return { kind: 'sandbox', sandbox, path };
}
