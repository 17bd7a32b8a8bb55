import { fieldValues, removeField } from '../http/fields.ts';
import { MAX_CONTENT_CODINGS } from './limits.ts';

/** A content coding that the gate can take off. */
export type Coding = 'gzip' | 'deflate' | 'br' | 'zstd';

/** The codings of a body, or why they cannot be taken off. */
export type CodingsReading =
  /** In the order in which they come off; none for identity. */
  | { readonly kind: 'known'; readonly codings: readonly Coding[] }
  | { readonly kind: 'unknown'; readonly reason: string };

/** Reads Content-Encoding (RFC 9110 section 8.4): codings are listed in the order in which they were applied. */
export function readCodings(fields: readonly string[]): CodingsReading {
  const codings: Coding[] = [];
  for (const element of fieldValues(fields, 'content-encoding').join(',').split(',')) {
    const coding = element.trim().toLowerCase();
    switch (coding) {
      case '':
      case 'identity':
        break;
      case 'gzip':
      case 'x-gzip':
        codings.unshift('gzip');
        break;
      case 'deflate':
      case 'br':
      case 'zstd':
        codings.unshift(coding);
        break;
      default:
        return { kind: 'unknown', reason: 'its content coding is not one of gzip, deflate, br and zstd' };
    }
  }
  return codings.length > MAX_CONTENT_CODINGS
    ? { kind: 'unknown', reason: `it is encoded more than ${MAX_CONTENT_CODINGS} times` }
    : { kind: 'known', codings };
}

/** Fields that hold a digest of the content as it was before the gate changed it (RFC 9530, and the two before it). */
const DIGEST_FIELDS = ['content-md5', 'digest', 'content-digest', 'repr-digest'] as const;

/** Removes digests that may be wrong for what is sent instead, from a head or a trailer section, in place. */
export function removeDigests(fields: string[]): void {
  for (const name of DIGEST_FIELDS) removeField(fields, name);
}
