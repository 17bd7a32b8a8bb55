import { fieldValues } from './message-reader.ts';
import type { Field, LenientMessage } from './message-reader.ts';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const MAX_CHUNK_DIGITS = 12;

/** What is ambiguous in a chunked body (RFC 9112 section 7.1), and where the message ends; `undefined` next: incomplete. */
function checkChunks(text: string, problems: string[]): number | undefined {
  let at = 0;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const line = text.slice(at, lineEnd);
    const [size = ''] = line.split(/[ \t]*;/, 1);
    if (/[\n\r\0]/.test(line)) problems.push('a bare CR, LF or NUL in a chunk line (RFC 9112 section 7.1)');
    if (!/^[0-9A-Fa-f]+$/.test(size) || size.length > MAX_CHUNK_DIGITS) {
      problems.push('a chunk size that parsers read differently (RFC 9112 section 7.1)');
      return undefined;
    }
    at = lineEnd + 2;
    const length = Number.parseInt(size, 16);
    if (length === 0) {
      for (;;) {
        const end = text.indexOf('\r\n', at);
        if (end < 0) return undefined;
        const trailer = text.slice(at, end);
        at = end + 2;
        if (trailer === '') return at;
        if (/[\n\r\0]/.test(trailer)) problems.push('a bare CR, LF or NUL in a trailer (RFC 9112 section 2.2)');
      }
    }
    if (at + length + 2 > text.length) return undefined;
    if (text.slice(at + length, at + length + 2) !== '\r\n') {
      problems.push('chunk data without CRLF after it (RFC 9112 section 7.1)');
      return undefined;
    }
    at += length + 2;
  }
}

function checkHead(head: string, problems: string[]): Field[] {
  if (/(?<!\r)\n|\r(?!\n)/.test(head)) problems.push('a bare CR or LF in a head (RFC 9112 section 2.2)');
  if (head.includes('\0')) problems.push('NUL in a head (RFC 9110 section 5.5)');
  const [startLine = '', ...lines] = head.split('\r\n');
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^ \t]+ HTTP\/1\.[01]$/.test(startLine)) {
    problems.push('a request line that parsers read differently (RFC 9112 section 3)');
  }
  const fields: Field[] = [];
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    if (/^[ \t]/.test(line)) problems.push('a folded field line (RFC 9112 section 5.2)');
    else if (colon < 0) problems.push('a field line without a colon (RFC 9112 section 5)');
    else if (!TOKEN.test(name)) problems.push('a field name that is no token (RFC 9112 section 5.1)');
    fields.push([name, colon < 0 ? '' : line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')]);
  }
  return fields;
}

/**
 * What in a gate's bytes to an upstream two parsers may read differently: where a request ends, or whom it is for.
 *
 * An incomplete end is none of it: a gate may give up in the middle. Empty when all is unambiguous.
 */
export function findAmbiguities(bytes: Buffer): string[] {
  const problems: string[] = [];
  let text = bytes.toString('latin1');
  while (text !== '' && problems.length === 0) {
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) {
      if (/\n\r?\n/.test(text)) problems.push('a head that ends by a bare LF (RFC 9112 section 2.2)');
      return problems;
    }
    const message: LenientMessage = {
      startLine: '',
      fields: checkHead(text.slice(0, end), problems),
      body: Buffer.alloc(0),
    };
    text = text.slice(end + 4);
    const lengths = fieldValues(message, 'content-length');
    const codings = fieldValues(message, 'transfer-encoding');
    if (fieldValues(message, 'host').length > 1) problems.push('two Host fields (RFC 9112 section 3.2)');
    if (lengths.length > 0 && codings.length > 0) problems.push('both lengths and codings (RFC 9112 section 6.1)');
    if (lengths.length > 1) problems.push('two Content-Length fields (RFC 9112 section 6.3)');
    if (lengths.length === 1 && !/^[0-9]{1,15}$/.test(lengths[0]!)) {
      problems.push('a Content-Length that is no number (RFC 9112 section 6.3)');
    }
    if (codings.length > 1 || (codings.length === 1 && codings[0]!.toLowerCase() !== 'chunked')) {
      problems.push('a Transfer-Encoding other than "chunked" (RFC 9112 section 6.1)');
    }
    if (problems.length > 0) return problems;
    if (codings.length === 1) {
      const next = checkChunks(text, problems);
      if (next === undefined) return problems;
      text = text.slice(next);
    } else text = text.slice(Number(lengths[0] ?? 0));
  }
  return problems;
}
