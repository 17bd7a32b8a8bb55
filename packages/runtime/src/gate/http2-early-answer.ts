import type { Http2Stream } from '../http2/types.ts';

/** How long a client may go on with a request that is answered already, in milliseconds. */
const EARLY_ANSWER_GRACE_MS = 200;

/**
 * After an answer that came before the request was whole, nobody reads the rest: it is dropped, and soon the stream is reset
 * (RFC 9113 section 8.1). Not at once, because curl forgets the answer when the reset comes while it still sends.
 *
 * @param stream its listener takes no data any more.
 */
export function discardSoon(stream: Http2Stream): void {
  stream.resume();
  if (!stream.isClosed) setTimeout(() => stream.discardRest(), EARLY_ANSWER_GRACE_MS).unref();
}
