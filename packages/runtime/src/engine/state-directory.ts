import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * Where Sallyport keeps its state: `$XDG_STATE_HOME/sallyport`, else `~/.local/state/sallyport`.
 * A relative XDG_STATE_HOME is ignored, as the XDG base directory specification asks.
 */
export function stateDirectory(environment: NodeJS.ProcessEnv): string {
  const base = environment['XDG_STATE_HOME'];
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.local', 'state'), 'sallyport');
}
