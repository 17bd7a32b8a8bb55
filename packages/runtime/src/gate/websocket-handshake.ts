import { createHash } from 'node:crypto';
import { countField, fieldValue, fieldValues, hasToken, removeField, setField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import {
  checkAcceptedExtensions,
  formatDeflateParameters,
  reduceExtensionOffers,
  type DeflateParameters,
} from '../websocket/extensions.ts';
import { WebSocketSyntaxError } from '../websocket/websocket-syntax-error.ts';

/** RFC 6455 section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Fields by which HTTP/1.1 switches protocols, and HTTP/2 does not. */
const HANDSHAKE_FIELDS = ['connection', 'upgrade', 'sec-websocket-key', 'sec-websocket-accept'] as const;

/** What a client offers in its opening handshake. */
export interface WebSocketOffer {
  readonly key: string;
  /** Its offers of permessage-deflate; null when its extensions are passed on as they are, because nothing is decoded. */
  readonly compression: readonly DeflateParameters[] | null;
}

/** What a request asks for beside its answer. */
export type UpgradeVerdict =
  | { readonly verdict: 'none' }
  | { readonly verdict: 'websocket'; readonly offer: WebSocketOffer }
  | { readonly verdict: 'malformed'; readonly reason: string };

/** What the server agreed to. */
export type SwitchVerdict =
  | { readonly verdict: 'ok'; readonly compression: boolean }
  | { readonly verdict: 'malformed'; readonly reason: string };

/**
 * Reads an opening handshake by RFC 6455 section 4.2.1. An upgrade to anything else, or one that RFC 9110 section 7.8 has us ignore
 * (in HTTP/1.0, or not named by Connection), is none. Pure.
 *
 * @param decodes whether the gate reads the frames that follow.
 */
export function readUpgrade(head: RequestHead, framing: Framing, decodes: boolean): UpgradeVerdict {
  const { fields } = head;
  if (!hasToken(fields, 'upgrade', 'websocket') || !hasToken(fields, 'connection', 'upgrade') || head.minor === 0) {
    return { verdict: 'none' };
  }
  if (head.method !== 'GET') return malformed('its method is not GET');
  if (framing.kind !== 'none' && !(framing.kind === 'length' && framing.bytes === 0)) return malformed('it has a body');
  const key = fieldValue(fields, 'sec-websocket-key') ?? '';
  if (countField(fields, 'sec-websocket-key') !== 1 || !isKey(key)) {
    return malformed('its Sec-WebSocket-Key is not one base64 text of 16 bytes');
  }
  if (countField(fields, 'sec-websocket-version') !== 1 || fieldValue(fields, 'sec-websocket-version') !== '13') {
    return malformed('its Sec-WebSocket-Version is not 13');
  }
  const compression = decodes ? reduceExtensionOffers(fieldValues(fields, 'sec-websocket-extensions')) : null;
  return { verdict: 'websocket', offer: { key, compression } };
}

/**
 * Reads an extended CONNECT with `:protocol: websocket` (RFC 8441 section 5) as the opening handshake of HTTP/1.1 that it stands for,
 * so that all later steps are the same. HTTP/2 needs neither `Connection` and `Upgrade` nor a key; `key` is for an upstream of HTTP/1.
 */
export function readExtendedConnect(head: RequestHead, key: string): RequestHead {
  const fields = [...head.fields];
  removeHandshakeFields(fields);
  fields.push('connection', 'Upgrade', 'upgrade', 'websocket', 'sec-websocket-key', key);
  return { ...head, method: 'GET', fields };
}

/** Removes from a head, in place, what a handshake has in HTTP/1.1 and not in HTTP/2 (RFC 8441 section 5). */
export function removeHandshakeFields(fields: string[]): void {
  for (const name of HANDSHAKE_FIELDS) removeField(fields, name);
}

/** Makes the handshake's own fields of a request say what was read, in place, whatever `Connection` took away. */
export function setOfferFields(fields: string[], offer: WebSocketOffer): void {
  fields.push('Connection', 'Upgrade', 'Upgrade', 'websocket');
  setField(fields, 'Sec-WebSocket-Key', offer.key);
  setField(fields, 'Sec-WebSocket-Version', '13');
  if (offer.compression === null) return;
  if (offer.compression.length === 0) removeField(fields, 'sec-websocket-extensions');
  else setField(fields, 'Sec-WebSocket-Extensions', offer.compression.map(formatDeflateParameters).join(', '));
}

/**
 * Checks a 101 response by RFC 6455 section 4.1, and readies its fields for the client, in place: those of the handshake say what was
 * checked. Hop-by-hop fields have not been removed from `head` and have been from `fields`.
 */
export function acceptSwitch(head: ResponseHead, fields: string[], offer: WebSocketOffer): SwitchVerdict {
  if (head.minor === 0) return malformed('it is in HTTP/1.0');
  if (!hasToken(head.fields, 'upgrade', 'websocket') || !hasToken(head.fields, 'connection', 'upgrade')) {
    return malformed('it does not upgrade to websocket');
  }
  const accept = acceptFor(offer.key);
  if (
    countField(head.fields, 'sec-websocket-accept') !== 1 ||
    fieldValue(head.fields, 'sec-websocket-accept') !== accept
  ) {
    return malformed('its Sec-WebSocket-Accept does not answer the key');
  }
  fields.push('Connection', 'Upgrade', 'Upgrade', 'websocket');
  setField(fields, 'Sec-WebSocket-Accept', accept);
  return acceptChoices(head, fields, offer);
}

/**
 * Checks what a server chose, its subprotocol and extensions, and makes `fields` say what was checked, in place. This is all there is to
 * check of an answer to an extended CONNECT, whose success is its status.
 */
export function acceptChoices(head: ResponseHead, fields: string[], offer: WebSocketOffer): SwitchVerdict {
  if (countField(head.fields, 'sec-websocket-protocol') > 1) return malformed('it chooses more than one subprotocol');
  if (offer.compression === null) return { verdict: 'ok', compression: false };
  try {
    const accepted = checkAcceptedExtensions(fieldValues(head.fields, 'sec-websocket-extensions'), offer.compression);
    if (accepted === null) removeField(fields, 'sec-websocket-extensions');
    else setField(fields, 'Sec-WebSocket-Extensions', formatDeflateParameters(accepted));
    return { verdict: 'ok', compression: accepted !== null };
  } catch (error) {
    if (!(error instanceof WebSocketSyntaxError)) throw error;
    return malformed(error.message);
  }
}

/** RFC 6455 section 4.2.2: what proves that the server read the key as a WebSocket handshake. */
function acceptFor(key: string): string {
  return createHash('sha1').update(`${key}${ACCEPT_GUID}`).digest('base64');
}

/** RFC 6455 section 4.1: 16 bytes in base64. The last digit's spare bits are not ours to judge. */
function isKey(key: string): boolean {
  return /^[A-Za-z0-9+/]{22}==$/.test(key);
}

function malformed(reason: string): { readonly verdict: 'malformed'; readonly reason: string } {
  return { verdict: 'malformed', reason };
}
