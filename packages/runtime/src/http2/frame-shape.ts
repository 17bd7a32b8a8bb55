import { frameSizeError, protocolError } from './error-code.ts';
import { FRAME } from './frame.ts';

/** The length of PRIORITY, and of what HEADERS holds of it (RFC 9113 section 6.3). */
export const PRIORITY_BYTES = 5;

/**
 * Checks what RFC 9113 section 6 says of each type's stream and length.
 *
 * @throws {Http2ConnectionError}
 */
export function checkShape(type: number, streamId: number, length: number): void {
  switch (type) {
    case FRAME.data:
    case FRAME.headers:
    case FRAME.continuation:
      if (streamId === 0) throw protocolError('a frame of a stream is on none');
      break;
    case FRAME.priority:
      if (streamId === 0) throw protocolError('PRIORITY is on no stream');
      if (length !== PRIORITY_BYTES) throw frameSizeError('PRIORITY has another length');
      break;
    case FRAME.reset:
      if (streamId === 0) throw protocolError('RST_STREAM is on no stream');
      if (length !== 4) throw frameSizeError('RST_STREAM has another length');
      break;
    case FRAME.windowUpdate:
      if (length !== 4) throw frameSizeError('WINDOW_UPDATE has another length');
      break;
    case FRAME.settings:
      if (streamId !== 0) throw protocolError('SETTINGS is on a stream');
      break;
    case FRAME.ping:
      if (streamId !== 0) throw protocolError('PING is on a stream');
      if (length !== 8) throw frameSizeError('PING has another length');
      break;
    case FRAME.goAway:
      if (streamId !== 0) throw protocolError('GOAWAY is on a stream');
      if (length < 8) throw frameSizeError('GOAWAY is too short');
      break;
    case FRAME.pushPromise:
      throw protocolError('a push comes although none is taken');
    default:
    // Unknown frames are ignored (RFC 9113 section 4.1).
  }
}

/**
 * The length of padding, of which the first octet tells (RFC 9113 section 6.1).
 *
 * @throws {Http2ConnectionError}
 */
export function paddingOf(source: Buffer, start: number, end: number): number {
  if (start === end) throw protocolError('a padded frame does not say how long its padding is');
  const padding = source[start]!;
  if (padding >= end - start) throw protocolError('padding is longer than its frame');
  return padding;
}
