/**
 * Fuzz target for rules with methods and paths: request targets and globs, against servers that read paths in ways of their own. What is
 * allowed must be allowed however a server reads it; what a server may take for something denied must be denied.
 *
 * `node --conditions=sallyport-source fuzz/http-policy.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { decideRequest } from '../packages/runtime/src/policy/http-policy.ts';
import { createNetworkPolicy, parseKeptRule, type KeptRule } from '../packages/runtime/src/policy/network-policy.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';

type Case = { glob: string; methods: string[]; method: string; target: string };

const HOST = 'api.test.example';
/** Globs whose meaning as a regular expression is plain. */
const GLOBS = ['/a', '/a/*', '/a/**', '/**/b', '/a/*.x', '/a*/b', '/', '/**'];
const PIECES = ['a', 'b', 'A', '/', '//', '.', '..', '%2e', '%2E', '%2f', '%5c', '\\', ';', ';x', '%3b', '%25', '%252e', '%00', '.x', 'x', '?', '#', '%', '%4', '%61', '%c0%ae', '\u00e9', '%C3%A9', '*']; // prettier-ignore
const METHODS = ['GET', 'POST', 'get', 'Post', 'DELETE'];

/** A glob as a regular expression, over paths with a slash in front and none behind. */
function expressionOf(glob: string): RegExp {
  const source = glob
    .split('/')
    .slice(1)
    .map((segment) => {
      if (segment === '**') return '(?:/[^/]+)*';
      return segment === '' ? '' : `/${segment.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}`;
    })
    .join('');
  return new RegExp(`^${source}$`, 'u');
}

/** How servers change a path before they look at it, one step each. */
const STEPS: readonly ((path: string) => string)[] = [
  (path) => path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replaceAll(/\/{2,}/g, '/'),
  (path) => path.replaceAll(/;[^/]*/g, ''),
  (path) => path.replace(/\0.*$/s, ''),
  resolveDots,
];

function resolveDots(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split('/').slice(1)) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
  }
  return `/${kept.join('/')}`;
}

/** The paths that some server may look for. */
function readingsOf(target: string): Set<string> {
  const readings = new Set([target.split(/[?#]/, 1)[0] ?? '']);
  for (const reading of readings) {
    for (const step of STEPS) if (readings.size < 500) readings.add(step(reading));
  }
  return readings;
}

const bare = (path: string): string => (path.endsWith('/') ? path.slice(0, -1) : path);

function check({ glob, methods, method, target }: Case, note: (what: string) => void): string | null {
  const request = { method, target, overrides: [], targetOverrides: [] };
  const decide = (rules: readonly KeptRule[]): boolean => {
    const kept = (action: string) =>
      rules.filter((rule) => rule.action === action).map((rule) => parseKeptRule(rule, null));
    const policy = createNetworkPolicy({ allow: kept('allow'), deny: kept('deny') });
    return decideRequest(policy, HOST, 443, request).verdict === 'allow';
  };
  const limit = { pattern: HOST, methods, path: glob };
  const isPermitted = decide([{ action: 'allow', ...limit }]);
  const isSpared = decide([
    { action: 'allow', pattern: HOST },
    { action: 'deny', ...limit },
  ]);
  note(isPermitted ? 'permitted' : isSpared ? 'neither' : 'denied');
  if (isPermitted && isSpared) return `what one rule covers for sure, the same rule does not deny: ${target}`;
  const exactly = expressionOf(glob);
  const loosely = new RegExp(exactly.source, 'iu');
  const folded = methods.length === 0 || methods.includes(method.toUpperCase());
  if (isPermitted && methods.length > 0 && !methods.includes(method)) return `permitted by another method: ${method}`;
  for (const reading of readingsOf(target)) {
    const path = bare(reading);
    // Encoded slashes stay in names of their own for servers that do not decode; the expression has no word for them.
    if (isPermitted && !/%2f/i.test(path) && !exactly.test(decodeOnce(path))) {
      return `permitted, though a server may look for ${JSON.stringify(reading)}`;
    }
    if (isSpared && folded && loosely.test(path))
      return `not denied, though a server may look for ${JSON.stringify(reading)}`;
  }
  return null;
}

/** A reading that is not decoded yet, as the server that decodes last compares it. */
function decodeOnce(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  return {
    name: 'http-policy',
    generate(random) {
      const length = random.below(8);
      const pieces = Array.from({ length }, () => (random.oneIn(3) ? '/' : random.pick(PIECES)));
      return {
        glob: random.pick(GLOBS),
        methods: random.oneIn(2) ? [] : [random.pick(['GET', 'POST'])],
        method: random.pick(METHODS),
        target: `/${random.oneIn(2) ? 'a/' : ''}${pieces.join('')}`,
      };
    },
    check,
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 20_000);
