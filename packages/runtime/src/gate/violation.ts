import type { Authority } from '../http/message.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { ViolationAction } from '../secrets/stored-secret.ts';
import type { Problem } from './problem.ts';

/**
 * Tells whether placeholders that a request holds where they are not for refuse it.
 *
 * @param stray names of secrets whose placeholder stays in it.
 */
export type ViolationCheck = (stray: Iterable<string>, authority: Authority) => Problem | null;

/** The check for the secrets of a set; null where none of them asks for one, so that nothing need be looked for. */
export function createViolationCheck({ secrets }: Pick<SecretSet, 'secrets'>): ViolationCheck | null {
  const actions = new Map<string, Exclude<ViolationAction, 'pass'>>();
  for (const { name, onViolation = 'pass' } of secrets) if (onViolation !== 'pass') actions.set(name, onViolation);
  if (actions.size === 0) return null;
  return (stray, authority) => {
    let found: string | null = null;
    for (const name of stray) {
      const action = actions.get(name);
      if (action === undefined) continue;
      if (found === null || action === 'terminate') found = name;
      if (action === 'terminate') break;
    }
    return found === null ? null : describeViolation(found, authority, actions.get(found) === 'terminate');
  };
}

function describeViolation(name: string, { host, port }: Authority, terminates: boolean): Problem {
  const end = terminates ? ' The sandbox is ended.' : '';
  return {
    status: 403,
    code: 'PLACEHOLDER_REFUSED',
    detail: `The request to ${host}:${port} holds the placeholder of the secret ${name} where that is not for: another host, method, path or place of the request.${end}`,
    remedy: `Leave the placeholder out, or, from outside of the sandbox, bind ${name} to what is meant, or let its placeholder pass: --on-violation pass`,
    misuse: { secret: name, terminates },
  };
}
