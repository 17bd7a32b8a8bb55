/** The client's connection preface (RFC 9113 section 3.4) with empty SETTINGS. */
export const HTTP2_PREFACE: Buffer = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  createFrame(0x4, 0, 0, Buffer.alloc(0)),
]);

const HEADERS = 0x1;
const DATA = 0x0;
const END_STREAM = 0x1;
const END_HEADERS = 0x4;

/** A frame (RFC 9113 section 4.1). */
function createFrame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** An HPACK string without Huffman coding (RFC 7541 section 5.2): whatever bytes it holds. */
function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let left = bytes.length - 127;
  for (; left >= 128; left = Math.floor(left / 128)) length.push((left % 128) + 128);
  length.push(left);
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** A request's HEADERS, and DATA where a body is given, with fields that no library would send. */
export function createHttp2Request(
  stream: number,
  fields: readonly (readonly [name: string, value: string])[],
  body?: string,
): Buffer {
  const block = Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), encodeString(name), encodeString(value)]),
  );
  const flags = END_HEADERS | (body === undefined ? END_STREAM : 0);
  const headers = createFrame(HEADERS, flags, stream, block);
  if (body === undefined) return headers;
  return Buffer.concat([headers, createFrame(DATA, END_STREAM, stream, Buffer.from(body, 'latin1'))]);
}

/** The payloads of the DATA frames in what a client received. */
export function readHttp2Data(received: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at + 9 <= received.length;) {
    const length = received.readUIntBE(at, 3);
    if (received[at + 3] === DATA) parts.push(received.subarray(at + 9, at + 9 + length));
    at += 9 + length;
  }
  return Buffer.concat(parts);
}
