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

/** Some rules of the list are wildcards themselves (`*.ck`): a label that no list names shows them. */
const PROBE_LABEL = 'sallyport-probe';

function suffixIn(
  name: string,
  allowPrivateDomains: boolean,
): { isSuffix: boolean; isIcann: boolean; isPrivate: boolean } {
  const result = parse(name, {
    allowPrivateDomains,
    detectIp: false,
    extractHostname: false,
    validateHostname: false,
  });
  return {
    isSuffix: result.publicSuffix === name,
    isIcann: result.isIcann === true,
    isPrivate: result.isPrivate === true,
  };
}

/** Classifies a canonical name as the suffix of a wildcard. */
export function classifySuffix(suffix: string): SuffixOwnership {
  if (!suffix.includes('.')) return 'registry';
  const names = [suffix, `${PROBE_LABEL}.${suffix}`];
  for (const name of names) {
    const icann = suffixIn(name, false);
    if (icann.isSuffix && icann.isIcann) return 'registry';
  }
  for (const name of names) {
    const both = suffixIn(name, true);
    if (both.isSuffix && both.isPrivate) return 'shared';
  }
  return 'own';
}
