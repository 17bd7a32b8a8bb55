import { ERROR_CODE, Http2ConnectionError } from './error-code.ts';
import { DEFAULT_WINDOW_BYTES, MAX_FRAME_BYTES, MAX_INT31, readUint32, writeUint32 } from './frame.ts';
import { DEFAULT_TABLE_BYTES } from './hpack-static-table.ts';
import type { Http2Limits, Http2PeerSettings } from './types.ts';

/** Identifiers of settings (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1). */
const SETTING = {
  headerTableSize: 0x1,
  enablePush: 0x2,
  maxConcurrentStreams: 0x3,
  initialWindowSize: 0x4,
  maxFrameSize: 0x5,
  maxHeaderListSize: 0x6,
  enableConnectProtocol: 0x8,
} as const;

const SETTING_BYTES = 6;
/** Entries of one SETTINGS frame; there are fewer than ten that mean something. */
const MAX_ENTRIES = 32;
const MAX_FRAME_SIZE_LIMIT = 2 ** 24 - 1;

/** Settings as a peer has them before it has said any. `maxConcurrentStreams` is what it is taken to allow. */
export function initialSettings(maxConcurrentStreams: number): Http2PeerSettings {
  return {
    headerTableSize: DEFAULT_TABLE_BYTES,
    maxConcurrentStreams,
    initialWindowSize: DEFAULT_WINDOW_BYTES,
    maxFrameSize: MAX_FRAME_BYTES,
    enableConnectProtocol: false,
  };
}

/**
 * Reads the payload of a SETTINGS frame, in order, over the settings that held before (RFC 9113 section 6.5.3).
 *
 * @throws {Http2ConnectionError}
 */
export function readSettings(
  source: Buffer,
  start: number,
  end: number,
  before: Http2PeerSettings,
  role: 'server' | 'client',
): Http2PeerSettings {
  if ((end - start) % SETTING_BYTES !== 0) fail(ERROR_CODE.frameSizeError, 'SETTINGS has an odd length');
  if (end - start > MAX_ENTRIES * SETTING_BYTES) fail(ERROR_CODE.enhanceYourCalm, 'SETTINGS has too many entries');
  const settings = { ...before };
  for (let at = start; at < end; at += SETTING_BYTES) {
    const value = readUint32(source, at + 2);
    switch ((source[at]! << 8) | source[at + 1]!) {
      case SETTING.headerTableSize:
        settings.headerTableSize = value;
        break;
      case SETTING.enablePush:
        // Of a server it can be 0 only.
        if (value > 1 || (value === 1 && role === 'client')) fail(ERROR_CODE.protocolError, 'ENABLE_PUSH is wrong');
        break;
      case SETTING.maxConcurrentStreams:
        settings.maxConcurrentStreams = value;
        break;
      case SETTING.initialWindowSize:
        if (value > MAX_INT31) fail(ERROR_CODE.flowControlError, 'INITIAL_WINDOW_SIZE is too large');
        settings.initialWindowSize = value;
        break;
      case SETTING.maxFrameSize:
        if (value < MAX_FRAME_BYTES || value > MAX_FRAME_SIZE_LIMIT) {
          fail(ERROR_CODE.protocolError, 'MAX_FRAME_SIZE is out of its range');
        }
        settings.maxFrameSize = value;
        break;
      case SETTING.enableConnectProtocol:
        if (value > 1 || (value === 0 && settings.enableConnectProtocol)) {
          fail(ERROR_CODE.protocolError, 'ENABLE_CONNECT_PROTOCOL is wrong, or is taken back');
        }
        settings.enableConnectProtocol = value === 1;
        break;
      default:
      // MAX_HEADER_LIST_SIZE is advice, and what is unknown is ignored.
    }
  }
  return settings;
}

/** The payload of our SETTINGS frame. */
export function encodeSettings(role: 'server' | 'client', limits: Http2Limits, enableConnectProtocol: boolean): Buffer {
  const entries: (readonly [identifier: number, value: number])[] = [];
  if (role === 'client') entries.push([SETTING.enablePush, 0]);
  else entries.push([SETTING.maxConcurrentStreams, limits.maxConcurrentStreams]);
  entries.push([SETTING.initialWindowSize, limits.windowBytes], [SETTING.maxHeaderListSize, limits.maxHeaderListBytes]);
  if (enableConnectProtocol) entries.push([SETTING.enableConnectProtocol, 1]);
  const payload = Buffer.alloc(entries.length * SETTING_BYTES);
  for (const [index, [identifier, value]] of entries.entries()) {
    payload[index * SETTING_BYTES + 1] = identifier;
    writeUint32(payload, index * SETTING_BYTES + 2, value);
  }
  return payload;
}

function fail(code: number, reason: string): never {
  throw new Http2ConnectionError(code, reason);
}
