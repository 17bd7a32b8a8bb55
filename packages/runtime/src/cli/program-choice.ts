/**
 * Whether the command line runs something in a sandbox of its own: a word `--` after `run` means that one is wanted, but for one that is kept,
 * which is the daemon's to make.
 */
export function runsSandbox(argv: readonly string[]): boolean {
  return argv[0] === 'run' && argv.includes('--') && !argv.slice(0, argv.indexOf('--')).includes('--keep');
}
