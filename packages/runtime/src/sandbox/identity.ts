import { userInfo } from 'node:os';

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
