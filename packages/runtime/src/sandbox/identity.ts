import { userInfo } from 'node:os';
import { SallyportError } from '@sallyport/sdk';

/** Who the command is inside the sandbox. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly userName: string;
  readonly groupName: string;
  /** Absolute; empty when the sandbox starts. */
  readonly home: string;
}

/** The user that root's sandboxes run as: programs treat uid 0 in special ways (`tar` changes owners, agents refuse). */
export const SANDBOX_USER: Identity = {
  uid: 1000,
  gid: 1000,
  userName: 'sandbox',
  groupName: 'sandbox',
  home: '/home/sandbox',
};

const SAFE_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;

/**
 * The identity inside for a caller: an ordinary user keeps name and numbers, root becomes {@link SANDBOX_USER}.
 *
 * The home directory is `/home/NAME` whatever the caller's own is: it is a new one, and programs must not take it for that.
 */
export function sandboxIdentity(caller: {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
}): Identity {
  if (caller.uid === 0) return SANDBOX_USER;
  const userName = SAFE_NAME.test(caller.name) && caller.name !== 'root' ? caller.name : SANDBOX_USER.userName;
  return { uid: caller.uid, gid: caller.gid, userName, groupName: userName, home: `/home/${userName}` };
}

/** The caller of this process. */
export function currentCaller(): { readonly uid: number; readonly gid: number; readonly name: string } {
  const uid = process.geteuid?.() ?? 0;
  const gid = process.getegid?.() ?? 0;
  try {
    return { uid, gid, name: userInfo().username };
  } catch {
    // A uid without an account, as in many containers.
    return { uid, gid, name: '' };
  }
}

/**
 * Checks whom a command is to run as: `USER[:GROUP]`, both by name or number.
 *
 * @throws SallyportError USER_REFUSED for anybody but the sandbox's own user: the user namespace of its commands maps one id, so there is no
 * process that could become another.
 */
export function checkUser(asked: string, identity: Identity): void {
  const { uid, gid, userName, groupName } = identity;
  const [user, group, ...more] = asked.split(':');
  const isUser = user === userName || user === String(uid);
  const isGroup = group === undefined || group === groupName || group === String(gid);
  if (isUser && isGroup && more.length === 0) return;
  throw new SallyportError(
    'USER_REFUSED',
    `The command cannot run as ${JSON.stringify(asked)}: the sandbox has one user, ${userName} (${uid}:${gid}), and its user namespace no other id. Leave the user out, or name that one.`,
  );
}
