import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';

/** What the files of one folder of packages/runtime/src may import and use. */
interface FolderRule {
  /** Folders beside it. Its own files, and `@sallyport/sdk`, are always allowed. */
  readonly folders: readonly string[];
  /** A pure folder reads no clock, randomness or environment, and imports of Node and of others only what is named here. */
  readonly pure?: { readonly packages: readonly string[] };
}

const ALL_BELOW_ENGINE = [
  'policy',
  'http',
  'http2',
  'websocket',
  'secrets',
  'services',
  'tls',
  'dns',
  'audit',
  'airlock',
  'sandbox',
  'stores',
  'sources',
  'gate',
];

/** Dependencies point inward. A folder that is not listed here is a violation: decide first what it may know. */
const RUNTIME_FOLDERS: Readonly<Record<string, FolderRule>> = {
  policy: { folders: [], pure: { packages: ['tldts', 'ipaddr.js'] } },
  http: { folders: ['policy'], pure: { packages: [] } },
  websocket: { folders: [], pure: { packages: [] } },
  http2: { folders: ['http'], pure: { packages: [] } },
  secrets: { folders: ['policy', 'http'], pure: { packages: [] } },
  services: { folders: ['policy', 'http', 'secrets'], pure: { packages: ['@smithy/signature-v4'] } },
  tls: { folders: ['policy'] },
  dns: { folders: ['policy'] },
  audit: { folders: ['policy'] },
  stores: { folders: ['policy', 'secrets'] },
  sources: { folders: ['policy', 'secrets', 'services', 'tls'] },
  airlock: { folders: ['policy'] },
  sandbox: { folders: ['policy', 'airlock'] },
  gate: { folders: ['policy', 'http', 'http2', 'websocket', 'secrets', 'services', 'tls', 'dns', 'audit'] },
  engine: { folders: ALL_BELOW_ENGINE },
  daemon: { folders: [...ALL_BELOW_ENGINE, 'engine'] },
  // What the daemon's paths are is all that a client knows of it.
  client: { folders: ['daemon'] },
  cli: { folders: [...ALL_BELOW_ENGINE, 'engine', 'daemon', 'client'] },
};

/** What the package's public entry (src/index.ts) may import. */
const INDEX_FOLDERS = [...ALL_BELOW_ENGINE, 'engine', 'daemon'];

/** The files that turn a secret back into text: where it goes on the wire, and where it is compiled into a matcher. */
const REVEALING_FILES =
  /^(?:secrets\/(?:secret-value|secret-set|substitut\w*|redact\w*|matcher|forms)(?:-[a-z-]+)?|services\/aws-signer)\.ts$/;

/** Node built-ins that a pure folder may import: bytes, and for the secret type the hook that hides it. */
const PURE_BUILTINS = new Set(['node:buffer']);
const INSPECT_FILE = 'secrets/secret-value.ts';

const IMPURE_GLOBALS = new Set([
  'process', 'performance', 'crypto', 'fetch', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'globalThis', 'require',
]); // prettier-ignore

/** What the contract may not use, so that it runs in a browser. */
const NODE_GLOBALS = new Set(['process', 'Buffer', 'require', '__dirname', '__filename', 'setImmediate', 'global']);

/** One import, with the line that it is on. */
interface Use {
  readonly text: string;
  readonly line: number;
}

interface Facts {
  readonly imports: readonly Use[];
  readonly identifiers: readonly Use[];
  /** Calls of the clock and of randomness that hide behind harmless globals. */
  readonly impureCalls: readonly Use[];
  /** Any mention of `reveal` as a member: called, bound, destructured or computed. */
  readonly reveals: readonly Use[];
}

/** Reads a source file with a real parser, type-only and dynamic imports and re-exports included. */
function readFacts(file: string, source: string): Facts {
  const { program, errors, module } = parseSync(file, source);
  const [error] = errors;
  if (error !== undefined) throw new SyntaxError(`${file}: ${error.message}`);
  const lineAt = (offset: number): number => source.slice(0, offset).split('\n').length;
  const imports: Use[] = [];
  const identifiers: Use[] = [];
  const impureCalls: Use[] = [];
  const reveals: Use[] = [];
  for (const { moduleRequest, start } of module.staticImports)
    imports.push({ text: moduleRequest.value, line: lineAt(start) });
  for (const { entries, start } of module.staticExports) {
    for (const { moduleRequest } of entries) {
      if (moduleRequest != null) imports.push({ text: moduleRequest.value, line: lineAt(start) });
    }
  }
  const notReferences = new Set<number>();
  const noteReveal = (text: unknown, start: number): void => {
    if (text === 'reveal') reveals.push({ text: 'reveal', line: lineAt(start) });
  };
  new Visitor({
    ImportExpression(node) {
      const text = node.source.type === 'Literal' ? String(node.source.value) : '(computed)';
      imports.push({ text, line: lineAt(node.start) });
    },
    TSImportType(node) {
      imports.push({ text: node.source.value, line: lineAt(node.start) });
    },
    MemberExpression(node) {
      const { object, property } = node;
      if (!node.computed) notReferences.add(property.start);
      if (property.type === 'Identifier') noteReveal(property.name, property.start);
      if (property.type === 'Literal') noteReveal(property.value, property.start);
      if (property.type === 'TemplateLiteral') noteReveal(property.quasis[0]?.value.cooked, property.start);
      if (object.type !== 'Identifier' || property.type !== 'Identifier') return;
      const name = `${object.name}.${property.name}`;
      if (name === 'Math.random' || name === 'Date.now') impureCalls.push({ text: name, line: lineAt(node.start) });
    },
    NewExpression(node) {
      if (node.callee.type === 'Identifier' && node.callee.name === 'Date' && node.arguments.length === 0) {
        impureCalls.push({ text: 'new Date()', line: lineAt(node.start) });
      }
    },
    Property(node) {
      if (!node.computed && !node.shorthand) notReferences.add(node.key.start);
      if (node.key.type === 'Identifier') noteReveal(node.key.name, node.key.start);
      if (node.key.type === 'Literal') noteReveal(node.key.value, node.key.start);
    },
    PropertyDefinition: ({ computed, key }) => void (computed || notReferences.add(key.start)),
    MethodDefinition: ({ computed, key }) => void (computed || notReferences.add(key.start)),
    TSPropertySignature: ({ computed, key }) => void (computed || notReferences.add(key.start)),
    TSMethodSignature: ({ computed, key }) => void (computed || notReferences.add(key.start)),
    Identifier(node) {
      if (notReferences.has(node.start)) return;
      identifiers.push({ text: node.name, line: lineAt(node.start) });
    },
  }).visit(program);
  return { imports, identifiers, impureCalls, reveals };
}

/** What is wrong with one file, as `path:line: message` lines. */
type Report = (use: Use, message: string) => void;

/** The folder of packages/runtime/src that a path relative to it lies in; undefined for the files at its top. */
function folderOf(path: string): string | undefined {
  const slash = path.indexOf('/');
  return slash === -1 ? undefined : path.slice(0, slash);
}

function checkRuntimeFile(path: string, facts: Facts, report: Report): void {
  const folder = folderOf(path);
  const rule: FolderRule | undefined =
    folder === undefined
      ? { folders: INDEX_FOLDERS }
      : Object.hasOwn(RUNTIME_FOLDERS, folder)
        ? RUNTIME_FOLDERS[folder]
        : undefined;
  if (rule === undefined) {
    report({ text: '', line: 1 }, `the folder "${folder}" has no rule in tools/import-boundaries.ts`);
    return;
  }
  for (const use of facts.imports) {
    if (use.text.startsWith('.')) {
      const target = normalize(join(dirname(path), use.text));
      const targetFolder = folderOf(target);
      if (target.startsWith('..')) report(use, `imports ${use.text}, which lies outside src`);
      else if (targetFolder === undefined && folder !== undefined) report(use, `imports ${target}, the public entry`);
      else if (targetFolder !== undefined && targetFolder !== folder && !rule.folders.includes(targetFolder)) {
        report(use, `${folder ?? 'the public entry'} may not import ${targetFolder} (${target})`);
      }
    } else if (use.text === 'sallyport' || use.text.startsWith('sallyport/')) {
      report(use, 'imports its own package by name');
    } else if (rule.pure !== undefined && !isAllowedInPure(path, use.text, rule.pure.packages)) {
      report(use, `a pure folder may not import ${use.text}`);
    }
  }
  if (rule.pure !== undefined) {
    for (const use of facts.identifiers) {
      if (IMPURE_GLOBALS.has(use.text)) report(use, `a pure folder may not use ${use.text}: make it an argument`);
    }
    for (const use of facts.impureCalls) report(use, `a pure folder may not use ${use.text}: make it an argument`);
  }
  if (!REVEALING_FILES.test(path)) {
    for (const use of facts.reveals) report(use, 'may not reveal a secret; only the files that put it on the wire may');
  }
}

function isAllowedInPure(path: string, specifier: string, packages: readonly string[]): boolean {
  if (specifier === '@sallyport/sdk' || packages.includes(specifier) || PURE_BUILTINS.has(specifier)) return true;
  return specifier === 'node:util' && path === INSPECT_FILE;
}

/** The part of the SDK that talks to the daemon: it needs Node's built-ins, and the rest, which browsers use, may not know it. */
const SDK_CLIENT = 'client';
/** Built-ins that Deno and Bun have too. */
const CLIENT_BUILTINS = new Set([
  'node:child_process', 'node:fs', 'node:fs/promises', 'node:http', 'node:os', 'node:path', 'node:process',
]); // prettier-ignore

function checkSdkFile(path: string, facts: Facts, report: Report): void {
  const isClient = folderOf(path) === SDK_CLIENT;
  for (const use of facts.imports) {
    const target = normalize(join(dirname(path), use.text));
    const isInside = use.text.startsWith('.') && !target.startsWith('..');
    if (isInside && !isClient && folderOf(target) === SDK_CLIENT) {
      report(use, `the contract may not import the client (${target}): it runs in browsers`);
    } else if (isClient && !isInside && !CLIENT_BUILTINS.has(use.text)) {
      report(use, `the client may not import ${use.text}: it has no dependency`);
    } else if (!isClient && !isInside && use.text !== 'zod') {
      report(use, `the SDK may not import ${use.text}: it runs in browsers`);
    }
  }
  if (isClient) {
    // What is imported by its name is there in Deno and Bun as well.
    for (const use of facts.identifiers)
      if (use.text === 'Buffer') report(use, 'the client may not use Buffer: bytes are Uint8Array');
    return;
  }
  for (const use of facts.identifiers) {
    if (NODE_GLOBALS.has(use.text)) report(use, `the SDK may not use ${use.text}: it runs in browsers`);
  }
}

/** The suite attacks any gate, so it knows none: neither the runtime nor the SDK. */
const GAUNTLET_PACKAGES = new Set(['@peculiar/x509', 'reflect-metadata']);

function checkGauntletFile(path: string, facts: Facts, report: Report): void {
  for (const use of facts.imports) {
    const isInside = use.text.startsWith('.') && !normalize(join(dirname(path), use.text)).startsWith('..');
    const isKnown = use.text.startsWith('node:') || GAUNTLET_PACKAGES.has(use.text);
    if (!isInside && !isKnown) report(use, `the gauntlet may not import ${use.text}: it stands alone`);
  }
}

/**
 * What one source file does that its place does not allow.
 *
 * @param file Its path from the root of the checkout, such as `packages/runtime/src/gate/relay.ts`.
 * @returns Lines of the form `file:line: message`; empty when all is well.
 * @throws SyntaxError where the source does not parse.
 */
export function checkSource(file: string, source: string): string[] {
  const match = /^packages\/(runtime|sdk|gauntlet)\/src\/(.+)$/.exec(file);
  if (match === null) throw new RangeError(`${file} is not a source file of a package`);
  const [, packageName, path = ''] = match;
  const violations: string[] = [];
  const report: Report = (use, message) => violations.push(`${file}:${use.line}: ${message}`);
  const facts = readFacts(file, source);
  if (packageName === 'sdk') checkSdkFile(path, facts, report);
  else if (packageName === 'gauntlet') checkGauntletFile(path, facts, report);
  else checkRuntimeFile(path, facts, report);
  return violations;
}

/** The source files of the packages that are published, so without tests and what only those use, as paths from `root`. */
export function sourceFiles(root: string): string[] {
  return ['packages/sdk/src', 'packages/runtime/src', 'packages/gauntlet/src'].flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, withFileTypes: true, encoding: 'utf8' })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !/\.test(?:ing)?\.ts$/.test(entry.name))
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/')),
  );
}

/** The violations of every source file below `root`. */
export function checkSources(root: string): string[] {
  return sourceFiles(root).flatMap((file) => checkSource(file, readFileSync(join(root, file), 'utf8')));
}
