import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The directory whose files the host would run the next time: the checkout, or the installed package.
 * A sandbox that could write it would be outside by then.
 */
export function installationDirectory(): string {
  const packageDirectory = fileURLToPath(new URL('../..', import.meta.url));
  const checkout = dirname(dirname(packageDirectory));
  return existsSync(join(checkout, 'sallyport')) ? checkout : packageDirectory;
}
