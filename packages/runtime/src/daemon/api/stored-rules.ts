import { SallyportError, type PresetChoice, type StoredRuleList, type StoredRulesAdd } from '@sallyport/sdk';
import { parseHostPattern } from '../../policy/host-pattern.ts';
import { createNetworkPolicy, parseKeptRule, type NetworkRule } from '../../policy/network-policy.ts';
import { findPreset } from '../../policy/presets.ts';
import type { RuleDraft } from '../../stores/rule-book.ts';
import { networkRules, type StoredRule } from '../../stores/stored-rule.ts';
import type { SandboxRegistry } from '../registry.ts';
import type { RuleShelf } from '../rule-shelf.ts';
import { json, type Handler } from './exchange.ts';

/** Stored rules of the network policy: every change is in force in all sandboxes that run when it is answered. */
export function storedRuleHandlers(registry: SandboxRegistry, shelf: RuleShelf) {
  return {
    listStoredRules: async ({ query }) => json(showRules(shelf.list(query['sandbox'] as string | undefined))),
    async addStoredRules({ body }) {
      const drafts = draftRules(body as StoredRulesAdd);
      const notices = checkDrafts(shelf, drafts, (body as StoredRulesAdd).sandbox ?? null);
      const rules = shelf.add(drafts);
      await registry.applyRules();
      return json(showRules(rules, notices));
    },
    async removeStoredRules({ query }) {
      const {
        host,
        action = null,
        sandbox = null,
      } = query as {
        readonly host: string;
        readonly action?: 'allow' | 'deny';
        readonly sandbox?: string;
      };
      const removed = shelf.remove(sandbox, host, action);
      if (removed.length === 0) throw notStored(sandbox, parseHostPattern(host, 'network').text);
      await registry.applyRules();
      return json(showRules(removed));
    },
    async resetStoredRules({ body }) {
      const removed = shelf.reset((body as { readonly sandbox?: string }).sandbox);
      await registry.applyRules();
      return json(showRules(removed));
    },
    async choosePreset({ body }) {
      const { preset: name } = body as PresetChoice;
      const preset = findPreset(name);
      if (preset === undefined) throw new SallyportError('USAGE', `There is no preset ${JSON.stringify(name)}.`);
      const rules = shelf.usePreset(preset);
      await registry.applyRules();
      return json(showRules(rules));
    },
  } satisfies Record<string, Handler>;
}

function draftRules({ action, hosts, methods = [], path, sandbox }: StoredRulesAdd): RuleDraft[] {
  return hosts.map((pattern) => ({ sandbox: sandbox ?? null, action, pattern, methods, path: path ?? null }));
}

/**
 * Finds what is wrong with rules, which are for one scope, beside those that count there.
 *
 * @returns what people should know about them
 * @throws SallyportError INVALID_RULE for rules that contradict each other, and whatever is wrong with one of them.
 */
function checkDrafts(shelf: RuleShelf, drafts: readonly RuleDraft[], scope: string | null): string[] {
  const beside = scope === null ? shelf.list().filter(({ sandbox }) => sandbox === null) : shelf.listFor(scope);
  const others = networkRules(beside);
  const strictly = (rule: NetworkRule): NetworkRule => ({ ...rule, isStored: false });
  const added = drafts.map((draft) => ({ ...strictly(parseKeptRule(draft, scope)), action: draft.action }));
  const { warnings } = createNetworkPolicy({
    allow: [...others.allow.map(strictly), ...added.filter(({ action }) => action === 'allow')],
    deny: [...others.deny.map(strictly), ...added.filter(({ action }) => action === 'deny')],
  });
  return warnings.filter((warning) => added.some(({ origin }) => warning.startsWith(origin)));
}

function notStored(sandbox: string | null, pattern: string): SallyportError {
  const where = sandbox === null ? 'for all sandboxes' : `for the sandbox ${sandbox}`;
  return new SallyportError(
    'RULE_NOT_FOUND',
    `No rule is stored ${where} for ${JSON.stringify(pattern)}. "sallyport policy ls" lists rules as they are to be written.`,
  );
}

/** Stored rules as the API has them. */
export function showRules(rules: readonly StoredRule[], notices: readonly string[] = []): StoredRuleList {
  return { rules: rules.map(showRule), notices: [...notices] };
}

/** A stored rule as the API has it. */
export function showRule({
  sandbox,
  action,
  pattern,
  methods,
  path,
  preset,
  createdAt,
}: StoredRule): StoredRuleList['rules'][number] {
  const moment = new Date(createdAt).toISOString();
  return { sandbox, action, host: pattern, methods: [...methods], path, preset, createdAt: moment };
}
