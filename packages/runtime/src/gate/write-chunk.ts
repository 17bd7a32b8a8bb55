import type { Writable } from 'node:stream';
import { CHUNK_END, encodeChunkHead } from '../http/encoder.ts';

/** Pieces up to this size are copied into one write with what frames them; larger ones are written as they lie. */
const JOINED_WRITE_BYTES = 2 * 1024;

/** Writes one chunk of a chunked body: small ones in one piece, large ones without a copy. Returns what `write` says. */
export function writeChunk(socket: Writable, data: Buffer): boolean {
  const head = encodeChunkHead(data.length);
  if (data.length <= JOINED_WRITE_BYTES) {
    const joined = Buffer.allocUnsafe(head.length + data.length + 2);
    joined.write(head, 0, 'latin1');
    data.copy(joined, head.length);
    joined[joined.length - 2] = 0x0d;
    joined[joined.length - 1] = 0x0a;
    return socket.write(joined);
  }
  socket.cork();
  socket.write(head, 'latin1');
  socket.write(data);
  const flowing = socket.write(CHUNK_END, 'latin1');
  socket.uncork();
  return flowing;
}
