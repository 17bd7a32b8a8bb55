import { parseKeptRule, type NetworkRule } from '../policy/network-policy.ts';

/** A rule that is stored. Its texts are canonical. */
export interface StoredRule {
  /** The sandbox that it is for, which need not exist; null for all. */
  readonly sandbox: string | null;
  readonly action: 'allow' | 'deny';
  readonly pattern: string;
  /** Empty for any. */
  readonly methods: readonly string[];
  /** A glob; null for any. */
  readonly path: string | null;
  /** The preset that it is of; null for one that people made. */
  readonly preset: string | null;
  /** ms since 1970. */
  readonly createdAt: number;
}

/** What was read of each rule: every sandbox goes by the same ones, and reading is slow. */
const READ = new WeakMap<StoredRule, NetworkRule>();

/** Stored rules as a network policy takes them. */
export function networkRules(rules: readonly StoredRule[]): {
  readonly allow: NetworkRule[];
  readonly deny: NetworkRule[];
} {
  const read = (rule: StoredRule): NetworkRule => {
    const known = READ.get(rule) ?? parseKeptRule(rule, rule.sandbox, rule.preset);
    READ.set(rule, known);
    return known;
  };
  return {
    allow: rules.filter(({ action }) => action === 'allow').map(read),
    deny: rules.filter(({ action }) => action === 'deny').map(read),
  };
}
