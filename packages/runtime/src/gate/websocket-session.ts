import type { Duplex } from 'node:stream';
import type { Authority } from '../http/message.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { ConnectionSubstitution } from '../secrets/substitute-message.ts';
import type { Waiting } from './client-connection.ts';
import type { GateContext } from './gate-context.ts';
import type { RequestContext } from './request-rewrite.ts';
import { WebSocketRelay, type MessageCheck, type WebSocketEnd } from './websocket-relay.ts';

/** What a WebSocket is opened with once its handshake is done, whatever protocol that came by. */
export interface WebSocketSessionOptions {
  /** Its events are the caller's, who tells the relay of them. */
  readonly client: Duplex;
  /** Nobody listens to it yet, and it is not flowing. */
  readonly upstream: Duplex;
  readonly compression: boolean;
  readonly authority: Authority;
  /** The secrets that the handshake's method and path are for. */
  readonly bound: readonly BoundSecret[];
  /** The time limit starts anew. */
  readonly wait: (forWhat: Extract<Waiting, 'websocket' | 'websocket-close'>) => void;
  /** Called once: the relay writes nothing more. */
  readonly onEnd: (end: WebSocketEnd) => void;
}

/** Relays a WebSocket as the secrets of the sandbox ask for it. */
export function openWebSocketSession(
  context: GateContext,
  { client, upstream, compression, authority, bound, wait, onEnd }: WebSocketSessionOptions,
): { readonly relay: WebSocketRelay; readonly substitution: ConnectionSubstitution | null } {
  const check = createMessageCheck(context, authority);
  const substitution = context.messages.connection(bound, check !== null);
  let isClosing = false;
  const relay = new WebSocketRelay({
    client,
    upstream,
    compression,
    redactor: context.redactor,
    substitution,
    check,
    lingerMs: context.timeLimits.lingerMs,
    onActivity: () => {
      if (!isClosing) wait('websocket');
    },
    onClosing: () => {
      isClosing = true;
      wait('websocket-close');
    },
    onEnd,
  });
  wait('websocket');
  return { relay, substitution };
}

/** The check for the messages of one connection; null where placeholders pass. */
function createMessageCheck({ violations, substituter }: RequestContext, authority: Authority): MessageCheck | null {
  if (violations === null) return null;
  return {
    names: (stray) => violations(stray, authority),
    payload: (payload) => violations(substituter.namesIn([payload.toString('latin1')]), authority),
  };
}
