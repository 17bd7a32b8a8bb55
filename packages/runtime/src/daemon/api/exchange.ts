import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';

/** A request that fits its endpoint: everything in it has been checked against the schemas. */
export interface ApiRequest {
  /** Parameters of the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  /** Undefined where the endpoint takes none, or takes bytes. */
  readonly body: unknown;
  /** The bytes of the body, for endpoints that take bytes. */
  readonly content: IncomingMessage;
  /** Whether the client wants an event stream. */
  readonly wantsEvents: boolean;
  /** `Last-Event-ID`, by which a client takes a stream up again. */
  readonly lastEventId: string | undefined;
  /** Aborted when the client has gone, or the daemon stops. */
  readonly signal: AbortSignal;
}

/** One event of a stream. */
export interface ApiEvent {
  readonly id?: string;
  readonly type: string;
  readonly data: unknown;
}

/** What is answered. */
export type ApiResponse =
  | { readonly kind: 'json'; readonly body: unknown }
  | { readonly kind: 'none' }
  | { readonly kind: 'events'; readonly events: AsyncIterable<ApiEvent> }
  | { readonly kind: 'bytes'; readonly content: Readable };

export type Handler = (request: ApiRequest) => Promise<ApiResponse>;

export const json = (body: unknown): ApiResponse => ({ kind: 'json', body });
export const nothing: ApiResponse = { kind: 'none' };
