/** What vendors put in front of every key of a kind: not secret. The longest that fits counts. */
const VENDOR_PREFIXES: readonly string[] = [
  'AIza', 'AKIA', 'ASIA', 'dckr_pat_', 'dop_v1_', 'ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_', 'github_pat_', 'glpat-', 'gsk_', 'hf_', 'hvs.', 'key_',
  'npm_', 'pypi-', 'rk_live_', 'rk_test_', 'shpat_', 'sk-', 'sk-ant-', 'sk-ant-admin01-', 'sk-ant-api03-', 'sk-ant-oat01-', 'sk-or-v1-',
  'sk-proj-', 'sk-svcacct-', 'sk_live_', 'sk_test_', 'xai-', 'xapp-', 'xoxb-', 'xoxp-', 'ya29.',
]; // prettier-ignore

/** Shorter values show nothing. */
const MIN_SHOWN_CHARACTERS = 20;
const MAX_HEAD_CHARACTERS = 6;
const MAX_TAIL_CHARACTERS = 4;
const GAP = '****...****';

/**
 * Shows of a secret's value what tells it from others, such as `gho_GCaw4o****...****43qy`: the vendor's own prefix where that is known, then
 * never more than a quarter of the characters, ten at most. Values of fewer than 20 characters, and those of anything but printable ASCII
 * (PEM keys, say), show nothing.
 */
export function maskValue(text: string): string {
  if (text.length < MIN_SHOWN_CHARACTERS || !/^[\x21-\x7e]+$/.test(text)) return GAP;
  const prefix = vendorPrefix(text);
  const shown = Math.min(Math.floor(text.length / 4), MAX_HEAD_CHARACTERS + MAX_TAIL_CHARACTERS);
  const tail = Math.min(MAX_TAIL_CHARACTERS, Math.floor(shown / 2));
  const head = Math.min(MAX_HEAD_CHARACTERS, shown - tail);
  // A prefix is no excuse to show all of a short rest.
  if (text.length - prefix.length < MIN_SHOWN_CHARACTERS) return `${prefix}${GAP}`;
  return `${text.slice(0, prefix.length + head)}${GAP}${text.slice(-tail)}`;
}

function vendorPrefix(text: string): string {
  let longest = '';
  for (const prefix of VENDOR_PREFIXES) {
    if (prefix.length > longest.length && text.startsWith(prefix)) longest = prefix;
  }
  return longest;
}
