import type { Http2Limits } from '../http2/types.ts';
import {
  MAX_CONCURRENT_STREAMS,
  MAX_HEAD_BYTES,
  MAX_HEADER_PAIRS,
  MAX_INTERIM_RESPONSES,
  STREAM_RESET_BURST,
  STREAM_RESETS_PER_SECOND,
  WINDOW_BYTES,
} from './limits.ts';

/** What one HTTP/2 connection of either side is held to. */
export const HTTP2_LIMITS: Http2Limits = {
  maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
  maxHeaderListBytes: MAX_HEAD_BYTES,
  maxHeaderPairs: MAX_HEADER_PAIRS,
  windowBytes: WINDOW_BYTES,
  streamResetBurst: STREAM_RESET_BURST,
  streamResetsPerSecond: STREAM_RESETS_PER_SECOND,
  maxInterimResponses: MAX_INTERIM_RESPONSES,
};
