import { equalsIgnoringCase } from './fields.ts';

/**
 * Fields that are dropped from trailer sections and never written into one (RFC 9110 section 6.5.1): those that frame or route a
 * message, authenticate, modify a request, control a response or say how content is read, because a recipient that merges
 * trailers into the head would act on them after every check was made.
 */
const FORBIDDEN_TRAILERS = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'te',
  'connection',
  'keep-alive',
  'upgrade',
  'http2-settings',
  'host',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'via',
  'max-forwards',
  'authorization',
  'www-authenticate',
  'x-api-key',
  'cookie',
  'set-cookie',
  'expect',
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'cache-control',
  'pragma',
  'age',
  'date',
  'expires',
  'location',
  'retry-after',
  'vary',
  'warning',
  'content-encoding',
  'content-type',
  'content-range',
  'content-location',
]);

/** Whether a field of that name, in any case, may not be in a trailer section. Every `Proxy-…` field is among them. */
export function isForbiddenTrailer(name: string): boolean {
  const lowerName = name.toLowerCase();
  return FORBIDDEN_TRAILERS.has(lowerName) || lowerName.startsWith('proxy-');
}

/**
 * Whether a field of that name, in any case, frames the message. In a trailer section that is an attack, not a slip: some parsers
 * act on it, others refuse the message.
 */
export function isFramingField(name: string): boolean {
  return equalsIgnoringCase(name, 'content-length') || equalsIgnoringCase(name, 'transfer-encoding');
}
