import { createHash } from 'node:crypto';

/** A request as the upstream saw it. */
export interface RecordedRequest {
  readonly httpVersion: '1.1' | '2';
  readonly scheme: 'http' | 'https';
  readonly method: string;
  /** Request target exactly as on the wire. */
  readonly target: string;
  /** Names and values in the order and spelling of the wire. */
  readonly rawHeaders: readonly (readonly [string, string])[];
  /** SNI of the connection; undefined without TLS or SNI. */
  readonly serverName: string | undefined;
  readonly connection: RecordedConnection;
  /** Complete once the request has ended. */
  body: Buffer;
}

/** A connection that the upstream accepted. */
export interface RecordedConnection {
  readonly id: number;
  readonly chunks: Buffer[];
  /** Every byte received so far, after TLS. */
  received(): Buffer;
}

/** All values of a header of a recorded request, in order; names compare without case. */
export function headerValues(request: RecordedRequest, name: string): string[] {
  return request.rawHeaders.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

/** A body of `length` bytes that looks random and is the same for the same length. */
export function deterministicBytes(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let size = 0, index = 0; size < length; size += 32, index++) {
    blocks.push(createHash('sha256').update(`sallyport ${index}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** Node's flat `rawHeaders` as pairs. */
export function pairHeaders(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, index) => [raw[2 * index]!, raw[2 * index + 1]!]);
}
