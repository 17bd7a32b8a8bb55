import type { Authority } from '../http/message.ts';
import type { Problem } from './problem.ts';

/** Fetches the values of secrets that are not at hand, before a request needs them. */
export interface ValueProvider {
  /**
   * Makes the values at hand that requests to an authority may need. Null at once when they are: this runs for each request. After it the
   * gate has another context where a value has changed.
   *
   * @returns What the client is told when a value cannot be had. Never rejects.
   */
  prepare(authority: Authority): Promise<Problem | null> | null;
  /**
   * An upstream has answered 401 to a request with these secrets, by the names that audit events have.
   *
   * @returns Whether one of them will be fetched anew, so that the request may be tried once more. Never rejects.
   */
  refused(names: readonly string[]): Promise<boolean>;
}
