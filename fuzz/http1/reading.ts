import { createBodyDecoder, type BodyDecoder } from '../../packages/runtime/src/http/body-decoder.ts';
import { targetForm } from '../../packages/runtime/src/http/authority.ts';
import { countField } from '../../packages/runtime/src/http/fields.ts';
import { requestFraming } from '../../packages/runtime/src/http/framing.ts';
import { keepsAlive } from '../../packages/runtime/src/http/hop-by-hop.ts';
import { HttpSyntaxError } from '../../packages/runtime/src/http/http-syntax-error.ts';
import { RequestHeads } from '../../packages/runtime/src/http/request-heads.ts';

/** One complete request as a parser saw it. Strings are Latin-1. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly minor: number;
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

/** What a parser made of all bytes of a connection that then ended. */
export interface Reading {
  readonly requests: readonly SeenRequest[];
  /**
   * How it ended after those requests: in peace; in the middle of a head or of a body whose head was accepted; at bytes that it
   * refused (with why); or it read no further, because the last request closes the connection or opens a tunnel.
   */
  readonly end: 'clean' | 'in-head' | 'in-body' | 'stopped' | `refused ${string}`;
}

/** Reads the chunks of one connection with Sallyport's codec and the checks that the gate makes on every head. Throws only what is a finding in itself. */
export function readWithOurs(chunks: readonly Buffer[]): Reading {
  const reader = new RequestHeads();
  const requests: SeenRequest[] = [];
  let decoder: BodyDecoder | null = null;
  let head = { method: '', target: '', minor: 0, fields: [] as readonly string[] };
  let body: string[] = [];
  let isStopped = false;

  try {
    for (const chunk of chunks) {
      let offset = 0;
      while (offset < chunk.length && !isStopped) {
        if (decoder === null) {
          const parsed = reader.read(chunk, offset);
          if (parsed === null) break;
          offset = reader.next;
          decoder = createBodyDecoder(requestFraming(parsed), 'request');
          if (targetForm(parsed.method, parsed.target) === null) return { requests, end: 'refused TARGET_FORM' };
          const hosts = countField(parsed.fields, 'host');
          if (hosts > 1 || (hosts === 0 && parsed.minor === 1)) return { requests, end: 'refused HOST' };
          head = parsed;
          body = [];
        } else {
          offset = decoder.decode(chunk, offset);
          if (decoder.data !== null) body.push(decoder.data.toString('latin1'));
        }
        if (decoder.isDone) {
          requests.push({ ...head, body: body.join(''), trailers: decoder.trailers });
          isStopped = head.method === 'CONNECT' || !keepsAlive(parsedHead(head));
          decoder = null;
        }
      }
    }
  } catch (error) {
    if (error instanceof HttpSyntaxError) return { requests, end: `refused ${error.code}` };
    throw error;
  }
  if (isStopped) return { requests, end: 'stopped' };
  if (decoder !== null) return { requests, end: 'in-body' };
  return { requests, end: reader.isPending ? 'in-head' : 'clean' };
}

function parsedHead(head: { minor: number; fields: readonly string[] }): Parameters<typeof keepsAlive>[0] {
  return { minor: head.minor === 1 ? 1 : 0, fields: head.fields };
}
