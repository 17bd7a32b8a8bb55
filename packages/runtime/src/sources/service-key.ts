import { credentialInEnvironment, wantsAwsKeys } from '../services/credential.ts';
import type { ServiceDefinition } from '../services/service.ts';
import { DEFAULT_TIME_LIMIT_MS } from './fetched-value.ts';

/** A service's value that was found on the host. */
export interface ServiceKey {
  readonly text: string;
  /** Where, for people: a variable's name, or an AWS profile. */
  readonly origin: string;
}

/**
 * The value of a service that the host's own programs would use: of its variables, and for AWS of the profiles as well. Null where there is
 * none.
 *
 * @throws SallyportError SOURCE_FAILED when an AWS profile was chosen that gives no keys.
 */
export async function findServiceKey(
  definition: ServiceDefinition,
  environment: NodeJS.ProcessEnv,
): Promise<ServiceKey | null> {
  if (!wantsAwsKeys(definition)) {
    const found = credentialInEnvironment(definition, environment);
    return found === null ? null : { text: found.text, origin: found.variable };
  }
  const settings = { environment, directory: '/', showError: false, timeLimitMs: DEFAULT_TIME_LIMIT_MS };
  // Loads Node's HTTP, which a start has no time for.
  const { findAwsKeys } = await import('./aws-profile.ts');
  return await findAwsKeys(settings, new AbortController().signal);
}
