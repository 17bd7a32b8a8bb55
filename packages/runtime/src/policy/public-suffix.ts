import { parse } from 'tldts';

/**
 * How a wildcard over this suffix relates to the Public Suffix List.
 *
 * - `registry`: the names directly below belong to unrelated people who registered them (the list's ICANN part), or the
 *   suffix is a single label.
 * - `shared`: a company gives the names below to its customers (the list's private part, `github.io` say).
 * - `own`: the names below belong to whoever holds the suffix.
 */
export type SuffixOwnership = 'registry' | 'shared' | 'own';

/** Classifies a canonical name as the suffix of a wildcard. */
export function classifySuffix(suffix: string): SuffixOwnership {
  if (!suffix.includes('.')) return 'registry';
  const options = { detectIp: false, extractHostname: false, validateHostname: false };
  // A base of a wildcard rule (`kawasaki.jp` of `*.kawasaki.jp`) counts as a suffix here, as it should.
  const icann = parse(suffix, { ...options, allowPrivateDomains: false });
  if (icann.isIcann === true && icann.publicSuffix === suffix) return 'registry';
  const both = parse(suffix, { ...options, allowPrivateDomains: true });
  return both.isPrivate === true && both.publicSuffix === suffix ? 'shared' : 'own';
}
