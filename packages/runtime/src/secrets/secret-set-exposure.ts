import { SallyportError } from '@sallyport/sdk';
import { protectedValues, type SecretSet } from './secret-set.ts';

/**
 * Refuses to start a command whose words or plain environment hold the value of a secret: it would enter the sandbox by another
 * door, usually because a shell expanded the variable before Sallyport was called.
 *
 * @throws SallyportError SECRET_CONFLICT, naming the variable and never the value.
 */
export function refuseExposure(
  set: SecretSet,
  command: readonly string[],
  environment: ReadonlyMap<string, string>,
): void {
  for (const secret of protectedValues(set)) {
    if (!secret.isSecret) continue;
    const value = secret.value.reveal();
    if (command.some((word) => word.includes(value))) {
      throw new SallyportError(
        'SECRET_CONFLICT',
        `The command holds the value of ${secret.name} itself, so the sandbox would see it. Keep the shell from expanding it (single quotes), or read the variable inside the sandbox.`,
      );
    }
    for (const [name, text] of environment) {
      if (text.includes(value)) {
        throw new SallyportError(
          'SECRET_CONFLICT',
          `The plain variable ${name} holds the value of the secret ${secret.name}, so the sandbox would see it. Drop it from --env or --env-file.`,
        );
      }
    }
  }
}
