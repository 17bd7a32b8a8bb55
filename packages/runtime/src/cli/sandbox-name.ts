import { SallyportError } from '@sallyport/sdk';

/** As the API's schema has it, which takes long to load. */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a sandbox can have that name. */
export function isSandboxName(text: string): boolean {
  return NAME.test(text);
}

/** Refuses what cannot be the name of a sandbox. @throws SallyportError INVALID_NAME */
export function checkSandboxName(name: string): void {
  if (isSandboxName(name)) return;
  throw new SallyportError(
    'INVALID_NAME',
    `The sandbox name ${JSON.stringify(name.slice(0, 80))} is not usable: it needs 1 to 63 lower-case letters, digits and inner hyphens.`,
  );
}
