import type { PresetChoice, StoredRule, StoredRuleList, StoredRulesAdd } from '../api/policy.ts';
import { defaultConnection, type Connection } from './connection.ts';
import type { CallOptions } from './limit.ts';

/** For whom stored rules are, and which daemon keeps them. */
export interface StoredRuleCallOptions extends CallOptions {
  /** The sandbox that they are for, by name; it need not exist. Default: all sandboxes. */
  readonly sandbox?: string | undefined;
  /** Default: the user's own daemon, or the one that SALLYPORT_SOCKET names. */
  readonly connection?: Connection | undefined;
}

/** What rules are for. */
export interface StoredRuleOptions extends StoredRuleCallOptions {
  /** Only requests by these methods; the TLS of the hosts is opened. Default: all. */
  readonly methods?: readonly string[] | undefined;
  /** Only requests to these paths, a glob such as `/repos/**`; the TLS of the hosts is opened. Default: all. */
  readonly path?: string | undefined;
}

/** Which rules to remove. */
export interface RemoveRuleOptions extends StoredRuleCallOptions {
  /** Default: those that allow and those that deny. */
  readonly action?: 'allow' | 'deny' | undefined;
}

const RULES = '/v1/policy/rules';

/**
 * The rules of the network policy that the daemon keeps, for all sandboxes or for one by its name. Sandboxes that run follow them when a
 * call that makes a change resolves. Denial wins; what no rule allows is denied.
 */
export class StoredRules {
  /**
   * Allows hosts: `HOST[:PORT]`, `*.name`, `**.name`, `**`, an address or a CIDR range.
   *
   * @throws SallyportError INVALID_HOST_PATTERN, INVALID_METHOD, INVALID_PATH_GLOB, INVALID_RULE; nothing is stored then.
   */
  async allow(hosts: string | readonly string[], options: StoredRuleOptions = {}): Promise<StoredRule[]> {
    return await add('allow', hosts, options);
  }

  /** Denies hosts, whatever else allows them. @throws as {@link StoredRules.allow} */
  async deny(hosts: string | readonly string[], options: StoredRuleOptions = {}): Promise<StoredRule[]> {
    return await add('deny', hosts, options);
  }

  /** The rules: all, or those that are for one sandbox alone. */
  async list(options: StoredRuleCallOptions = {}): Promise<StoredRule[]> {
    return (await ask(options, { method: 'GET', path: RULES, query: scopeOf(options) })).rules;
  }

  /** Removes every rule for a host. @returns what was removed @throws SallyportError RULE_NOT_FOUND */
  async remove(host: string, options: RemoveRuleOptions = {}): Promise<StoredRule[]> {
    const { action } = options;
    const query = { host, ...(action === undefined ? {} : { action }), ...scopeOf(options) };
    return (await ask(options, { method: 'DELETE', path: RULES, query })).rules;
  }

  /** Removes all rules, those of presets included, or those for one sandbox. @returns what was removed */
  async reset(options: StoredRuleCallOptions = {}): Promise<StoredRule[]> {
    return (await ask(options, { method: 'POST', path: '/v1/policy/reset', body: scopeOf(options) })).rules;
  }

  /** Puts the rules of a preset in the place of those that another one left. @returns its rules */
  async usePreset(
    preset: PresetChoice['preset'],
    options: Omit<StoredRuleCallOptions, 'sandbox'> = {},
  ): Promise<StoredRule[]> {
    return (await ask(options, { method: 'PUT', path: '/v1/policy/preset', body: { preset } })).rules;
  }
}

/** The stored rules of the user's own daemon, or of the `connection` that a call names. */
export const policy: StoredRules = new StoredRules();

async function add(
  action: StoredRulesAdd['action'],
  hosts: string | readonly string[],
  options: StoredRuleOptions,
): Promise<StoredRule[]> {
  const { methods, path } = options;
  const body: StoredRulesAdd = {
    action,
    hosts: typeof hosts === 'string' ? [hosts] : [...hosts],
    ...(methods === undefined ? {} : { methods: [...methods] }),
    ...(path === undefined ? {} : { path }),
    ...scopeOf(options),
  };
  return (await ask(options, { method: 'POST', path: RULES, body })).rules;
}

async function ask(
  options: StoredRuleCallOptions,
  question: Parameters<Connection['ask']>[0],
): Promise<StoredRuleList> {
  return await (options.connection ?? defaultConnection()).ask<StoredRuleList>(question, options);
}

function scopeOf({ sandbox }: StoredRuleCallOptions): { sandbox?: string } {
  return sandbox === undefined ? {} : { sandbox };
}
