import { findHostNode } from '../harness/tools.ts';
import { NODE_SDKS, PYTHON_SDKS, installSdks } from './set-up.ts';

/** A vendor's SDK, by a program that uses it as anybody does. */
export interface SdkRow {
  readonly name: string;
  /** Why it cannot be tried on this machine. */
  readonly skip: string | undefined;
  readonly service: string;
  /** The only variable of the vendor's that the program has. */
  readonly variable: string;
  readonly options: readonly string[];
  /** Shell text. */
  readonly command: string;
  /** What it prints, by name; `VALUE` stands for what the sandbox sees instead of the credential. */
  readonly prints: Readonly<Record<string, string>>;
}

const SAID = 'before VALUE after';

/** The SDKs, installed where they were not. */
export function listSdks(): SdkRow[] {
  const missing = installSdks();
  const node = findHostNode();
  const isOutside = node !== undefined && !node.startsWith('/usr/');
  const onNode = (file: string): Pick<SdkRow, 'skip' | 'options' | 'command'> => ({
    skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
    options: isOutside ? ['-v', `${node}:/node:ro`] : [],
    command: `${isOutside ? '/node' : 'node'} ${NODE_SDKS}/${file}`,
  });
  const onPython = (file: string): Pick<SdkRow, 'skip' | 'options' | 'command'> => ({
    skip: missing.python,
    options: [],
    command: `PYTHONPATH=${PYTHON_SDKS} /usr/bin/python3 ${PYTHON_SDKS}/${file}`,
  });
  const openai = { service: 'openai', variable: 'OPENAI_API_KEY' };
  const openaiPrints = { whole: SAID, stream: SAID, models: 'one,two', responses: SAID };
  const anthropic = { service: 'anthropic', variable: 'ANTHROPIC_API_KEY' };
  const anthropicPrints = { whole: SAID, stream: SAID, models: 'one,two' };
  const googlePrints = { whole: SAID, stream: SAID, models: 'models/one,models/two' };
  return [
    { name: 'openai (npm)', ...openai, ...onNode('openai.mjs'), prints: openaiPrints },
    { name: 'openai (PyPI)', ...openai, ...onPython('openai_program.py'), prints: openaiPrints },
    { name: '@anthropic-ai/sdk (npm)', ...anthropic, ...onNode('anthropic.mjs'), prints: anthropicPrints },
    { name: 'anthropic (PyPI)', ...anthropic, ...onPython('anthropic_program.py'), prints: anthropicPrints },
    {
      name: '@google/genai (npm)',
      service: 'google',
      variable: 'GEMINI_API_KEY',
      ...onNode('google.mjs'),
      prints: googlePrints,
    },
    {
      name: 'octokit (npm)',
      service: 'github',
      variable: 'GITHUB_TOKEN',
      ...onNode('octokit.mjs'),
      prints: { whole: SAID, pages: 'first,second', graphql: 'someone', upload: 'thing.txt' },
    },
  ];
}
