import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from 'node:zlib';
import type { Transform } from 'node:stream';
import type { Coding } from './content-coding.ts';

/** The window that RFC 9659 allows this coding, 8 MiB, as a power of two. */
const MAX_ZSTD_WINDOW_LOG = 23;

/**
 * Makes the decoder of one content coding. It gives out what it has after every write, so that events are not held back.
 *
 * `first` is the first byte of the body: `deflate` means the zlib format (RFC 9110 section 8.4.1.2), but some servers send raw
 * deflate data, which browsers accept as well.
 */
export function createContentDecoder(coding: Coding, first: number): Transform {
  switch (coding) {
    case 'gzip':
      return createGunzip({ flush: constants.Z_SYNC_FLUSH });
    case 'deflate':
      return (first & 0x0f) === 8
        ? createInflate({ flush: constants.Z_SYNC_FLUSH })
        : createInflateRaw({ flush: constants.Z_SYNC_FLUSH });
    case 'br':
      return createBrotliDecompress({ flush: constants.BROTLI_OPERATION_FLUSH });
    case 'zstd':
      return createZstdDecompress({
        flush: constants.ZSTD_e_flush,
        params: { [constants.ZSTD_d_windowLogMax]: MAX_ZSTD_WINDOW_LOG },
      });
    default:
      throw new TypeError(`unknown coding ${String(coding satisfies never)}`);
  }
}
