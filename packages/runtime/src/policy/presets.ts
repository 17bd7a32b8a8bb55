/** One host of a preset, and why it is in it. */
export interface PresetRule {
  readonly pattern: string;
  /** What it is for. */
  readonly reason: string;
  /** How data can get from a sandbox to strangers by it; null where the host takes nothing that others could read. */
  readonly exposure: string | null;
}

/** A set of rules under a name. */
export interface Preset {
  readonly name: PresetName;
  readonly summary: string;
  readonly rules: readonly PresetRule[];
}

export const PRESET_NAMES = ['locked', 'balanced', 'open'] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

/** Uploading needs an account's token; one that came with the code is enough. */
const WITH_AN_ACCOUNT =
  'Whoever has an account there can publish to it, and the code may bring the token of one along.';

const to = (pattern: string, reason: string, exposure: string | null = null): PresetRule => ({
  pattern,
  reason,
  exposure,
});

/** Package registries and what they download from, git hosts, and documentation. No host that anybody can write to without an account. */
const BALANCED: readonly PresetRule[] = [
  to('registry.npmjs.org', 'npm: packages', WITH_AN_ACCOUNT),
  to('registry.yarnpkg.com', 'Yarn: the same packages under another name', WITH_AN_ACCOUNT),
  to('nodejs.org', 'Node.js: releases and headers for native modules'),
  to('pypi.org', 'Python: the index of packages'),
  to('files.pythonhosted.org', 'Python: package files'),
  to('crates.io', 'Rust: the registry', WITH_AN_ACCOUNT),
  to('index.crates.io', 'Rust: the index of crates'),
  to('static.crates.io', 'Rust: crate files'),
  to('static.rust-lang.org', 'Rust: toolchains'),
  to('proxy.golang.org', 'Go: modules', 'It fetches any public module by name, so a name that is asked for reaches the server that the name is of.'),
  to('sum.golang.org', 'Go: the checksum database', 'As proxy.golang.org.'),
  to('go.dev', 'Go: releases and documentation'),
  to('dl.google.com', 'Go: release files; also other downloads of Google'),
  to('rubygems.org', 'Ruby: gems', WITH_AN_ACCOUNT),
  to('index.rubygems.org', 'Ruby: the index of gems'),
  to('repo.maven.apache.org', 'Java: Maven Central'),
  to('repo1.maven.org', 'Java: Maven Central under its other name'),
  to('services.gradle.org', 'Java: Gradle releases'),
  to('plugins.gradle.org', 'Java: Gradle plugins', WITH_AN_ACCOUNT),
  to('repo.packagist.org', 'PHP: the index of packages'),
  to('packagist.org', 'PHP: the registry', WITH_AN_ACCOUNT),
  to('getcomposer.org', 'PHP: Composer'),
  to('api.nuget.org', '.NET: packages'),
  to('deb.debian.org', 'Debian: packages'),
  to('security.debian.org', 'Debian: security updates'),
  to('archive.ubuntu.com', 'Ubuntu: packages'),
  to('security.ubuntu.com', 'Ubuntu: security updates'),
  to('ports.ubuntu.com', 'Ubuntu: packages for other processors'),
  to('dl-cdn.alpinelinux.org', 'Alpine: packages'),
  to('github.com', 'git, releases and source archives', WITH_AN_ACCOUNT),
  to('codeload.github.com', 'source archives of GitHub repositories'),
  to('raw.githubusercontent.com', 'single files of GitHub repositories', 'Files of all users: what is read there is as trustworthy as its author.'),
  to('objects.githubusercontent.com', 'release files of GitHub repositories', 'Files of all users.'),
  to('release-assets.githubusercontent.com', 'release files of GitHub repositories', 'Files of all users.'),
  to('gitlab.com', 'git and source archives', WITH_AN_ACCOUNT),
  to('bitbucket.org', 'git and source archives', WITH_AN_ACCOUNT),
  to('codeberg.org', 'git and source archives', WITH_AN_ACCOUNT),
  to('developer.mozilla.org', 'documentation of the web'),
  to('docs.python.org', 'documentation of Python'),
  to('docs.rs', 'documentation of crates'),
  to('doc.rust-lang.org', 'documentation of Rust'),
  to('pkg.go.dev', 'documentation of Go modules', 'As proxy.golang.org.'),
  to('www.typescriptlang.org', 'documentation of TypeScript'),
  to('docs.anthropic.com', 'documentation of the Anthropic API'),
  to('docs.claude.com', 'documentation of the Anthropic API'),
  to('platform.openai.com', 'documentation of the OpenAI API', WITH_AN_ACCOUNT),
  to('ai.google.dev', 'documentation of the Gemini API'),
  to('docs.mistral.ai', 'documentation of the Mistral API'),
]; // prettier-ignore

/** All presets. The hosts of secrets and of services are open in each of them, as in any sandbox. */
export const PRESETS: readonly Preset[] = [
  {
    name: 'locked',
    summary: 'Nothing but the hosts of secrets and services, and what rules allow. So it is where nothing else was chosen.',
    rules: [],
  },
  {
    name: 'balanced',
    summary: 'Package registries, git hosts and documentation, by name. The APIs of model providers are open where a secret or a service for them is.',
    rules: BALANCED,
  },
  {
    name: 'open',
    summary: 'Every public name on ports 80 and 443. Addresses that are not public stay denied, and so do addresses without a name.',
    rules: [
      to(
        '**',
        'any name',
        'Everybody can receive what the sandbox can read. Placeholders are worth nothing to them, but everything else is theirs.',
      ),
    ],
  },
]; // prettier-ignore

/** A preset by its name. */
export function findPreset(name: string): Preset | undefined {
  return PRESETS.find((preset) => preset.name === name);
}

/** What `docs/policy-presets.md` says. */
export function describePresets(): string {
  const table = ({ rules }: Preset): string =>
    rules.length === 0
      ? 'No rules.\n'
      : `| host | for | what can leave by it |\n|---|---|---|\n${rules
          .map(
            ({ pattern, reason, exposure }) =>
              `| \`${pattern}\` | ${reason} | ${exposure ?? 'nothing that others can read'} |\n`,
          )
          .join('')}`;
  const sections = PRESETS.map((preset) => `## ${preset.name}\n\n${preset.summary}\n\n${table(preset)}`);
  return `# Presets of the network policy

\`sallyport policy init NAME\` puts the rules of one of these in the place of those that another preset left; other rules stay.
They are rules like all others: \`sallyport policy ls\` lists them, \`sallyport policy rm\` removes single ones, and a denial wins over them.
Without a port, a rule is for ports 80 and 443. A path, a query or the name of a package can carry data out to whoever runs the host: what is said
below is who else could read it.

${sections.join('\n')}`;
}
