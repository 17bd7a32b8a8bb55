import { SallyportError } from '../errors.ts';

/** Bytes to send: text is sent as UTF-8. Node's and web's readable streams are such iterables. */
export type Content = string | Uint8Array | Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>;

/** The length of content in bytes, and the content as a stream. */
export interface ContentStream {
  /** Undefined where it is not known before it has come. */
  readonly length: number | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Content of any form as a stream of bytes. @throws SallyportError USAGE for what is none. */
export function toStream(content: Content): ContentStream {
  if (typeof content === 'string' || content instanceof Uint8Array) {
    const bytes = toBytes(content);
    return { length: bytes.length, chunks: encode([bytes]) };
  }
  const { [Symbol.asyncIterator]: many, [Symbol.iterator]: few } = content as Partial<
    AsyncIterable<unknown> & Iterable<unknown>
  >;
  if (typeof many !== 'function' && typeof few !== 'function') {
    throw new SallyportError('USAGE', 'Content must be text, a Uint8Array, or an iterable of these.');
  }
  return { length: undefined, chunks: encode(content) };
}

async function* encode(
  pieces: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of pieces) {
    const bytes = toBytes(piece);
    if (bytes.length > 0) yield bytes;
  }
}

function toBytes(piece: Uint8Array | string): Uint8Array {
  if (typeof piece === 'string') return new TextEncoder().encode(piece);
  if (piece instanceof Uint8Array) return piece;
  throw new SallyportError('USAGE', 'Content must consist of text or of Uint8Arrays.');
}

/** All pieces as one. */
export function joinBytes(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const piece of pieces) {
    joined.set(piece, offset);
    offset += piece.length;
  }
  return joined;
}

const BASE64_CHUNK_CHARACTERS = 32_768;

/** The bytes that base64 text stands for. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (let offset = 0; offset < text.length; offset += BASE64_CHUNK_CHARACTERS) {
    const binary = atob(text.slice(offset, offset + BASE64_CHUNK_CHARACTERS));
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
    parts.push(bytes);
  }
  return joinBytes(parts);
}
