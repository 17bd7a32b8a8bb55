import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib';

/** One field line, as it came. */
export type Field = readonly [name: string, value: string];

/** A message as a lenient peer reads it: LF alone ends a line, names are trimmed, `Transfer-Encoding` wins. */
export interface LenientMessage {
  readonly startLine: string;
  readonly fields: readonly Field[];
  readonly body: Buffer;
}

const MAX_DECODED_BYTES = 16 * 1024 * 1024;

/** The values of a field, by its name in lower case. */
export function fieldValues(message: LenientMessage, name: string): string[] {
  return message.fields.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value);
}

function findHeadEnd(bytes: Buffer): { end: number; next: number } | undefined {
  const text = bytes.toString('latin1');
  const match = /\r?\n\r?\n/.exec(text);
  return match === null ? undefined : { end: match.index, next: match.index + match[0].length };
}

/** The data of chunks and where the message ends; undefined while it is incomplete. */
function readChunks(bytes: Buffer): { body: Buffer; next: number; complete: boolean } {
  const text = bytes.toString('latin1');
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = text.indexOf('\n', at);
    if (lineEnd < 0) return { body: Buffer.concat(parts), next: bytes.length, complete: false };
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    at = lineEnd + 1;
    if (!Number.isSafeInteger(size) || size < 0) {
      return { body: Buffer.concat(parts), next: at, complete: true };
    }
    if (size === 0) {
      const trailers = /^(?:[^\n]*[^\r\n][^\n]*\n)*\r?\n/.exec(text.slice(at));
      const next = trailers === null ? bytes.length : at + trailers[0].length;
      if (trailers !== null) parts.push(Buffer.from(trailers[0], 'latin1'));
      return { body: Buffer.concat(parts), next, complete: trailers !== null };
    }
    parts.push(bytes.subarray(at, at + size));
    if (at + size > bytes.length) return { body: Buffer.concat(parts), next: bytes.length, complete: false };
    at += size;
    if (text[at] === '\r') at += 1;
    if (text[at] === '\n') at += 1;
  }
}

function readHead(text: string): { startLine: string; fields: Field[] } {
  const [startLine = '', ...lines] = text.split(/\r?\n/);
  const fields = lines.map((line): Field => {
    const colon = line.indexOf(':');
    return colon < 0 ? [line.trim(), ''] : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  });
  return { startLine, fields };
}

/**
 * Takes the first message off `bytes`.
 *
 * @param untilClose What a message without a length has for a body: the rest (a response), or nothing (a request).
 * @returns undefined while the head or body is incomplete; with `closed` an incomplete one is taken as it is.
 */
export function readMessage(
  bytes: Buffer,
  untilClose: boolean,
  closed: boolean,
): { message: LenientMessage; rest: Buffer } | undefined {
  const head = findHeadEnd(bytes);
  if (head === undefined) return undefined;
  const { startLine, fields } = readHead(bytes.subarray(0, head.end).toString('latin1'));
  const after = bytes.subarray(head.next);
  const message: LenientMessage = { startLine, fields, body: Buffer.alloc(0) };
  if (/^HTTP\/\S+ 1\d\d/.test(startLine) && !startLine.includes(' 101')) return { message, rest: after };
  if (fieldValues(message, 'transfer-encoding').some((value) => value.toLowerCase().includes('chunked'))) {
    const { body, next, complete } = readChunks(after);
    if (!complete && !closed) return undefined;
    return { message: { startLine, fields, body }, rest: after.subarray(next) };
  }
  const [lengthText] = fieldValues(message, 'content-length');
  if (lengthText === undefined) {
    return untilClose
      ? { message: { startLine, fields, body: after }, rest: Buffer.alloc(0) }
      : { message, rest: after };
  }
  const length = Math.max(0, Number.parseInt(lengthText, 10) || 0);
  if (after.length < length && !closed) return undefined;
  return { message: { startLine, fields, body: after.subarray(0, length) }, rest: after.subarray(length) };
}

function decode(coding: string, body: Buffer): Buffer {
  const options = { maxOutputLength: MAX_DECODED_BYTES, finishFlush: 2 };
  switch (coding) {
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(body, options);
    case 'deflate':
      try {
        return inflateSync(body, options);
      } catch {
        return inflateRawSync(body, options);
      }
    case 'br':
      return brotliDecompressSync(body, { maxOutputLength: MAX_DECODED_BYTES });
    case 'zstd':
      return zstdDecompressSync(body, { maxOutputLength: MAX_DECODED_BYTES });
    default:
      return body;
  }
}

/** The body without its content codings; as far as it can be decoded. */
export function decodeBody(message: LenientMessage): Buffer {
  const codings = fieldValues(message, 'content-encoding').flatMap((value) => value.toLowerCase().split(','));
  let { body } = message;
  for (const coding of codings.map((one) => one.trim()).toReversed()) {
    try {
      body = decode(coding, body);
    } catch {
      return body;
    }
  }
  return body;
}

/** Every response in what a client received, the last one as far as it came. */
export function readResponses(received: Buffer): LenientMessage[] {
  const responses: LenientMessage[] = [];
  let rest = received;
  while (rest.length > 0) {
    const next = readMessage(rest, true, true);
    if (next === undefined) break;
    responses.push(next.message);
    rest = next.rest;
  }
  return responses;
}
