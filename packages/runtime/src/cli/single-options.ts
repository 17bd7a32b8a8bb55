import { SallyportError } from '@sallyport/sdk';
import type { Command } from 'commander';

/**
 * Makes a command, and those below it, refuse an option that is given twice where it takes one value: the last would silently count, so that a
 * rule for two paths, say, denied only one of them.
 */
export function refuseRepeatedOptions(command: Command): void {
  for (const option of command.options) {
    const takesOne = option.parseArg === undefined || option.argChoices !== undefined;
    if (!option.required || !takesOne) continue;
    let isGiven = false;
    command.on(`option:${option.name()}`, () => {
      if (isGiven) {
        throw new SallyportError(
          'USAGE',
          `The option ${option.long ?? option.flags} is given twice, and takes one value.`,
        );
      }
      isGiven = true;
    });
  }
  for (const child of command.commands) refuseRepeatedOptions(child);
}
