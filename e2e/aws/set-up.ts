import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CACHE, INSIDE, Installer, installNpmPackages, installPythonPackages } from '../harness/client-cache.ts';
import { findHostNode } from '../harness/tools.ts';

const PROGRAMS = fileURLToPath(new URL('programs', import.meta.url));

const NPM_PACKAGES = [
  '@aws-sdk/client-bedrock-runtime@3.1164.0',
  '@aws-sdk/client-s3@3.1169.0',
  '@aws-sdk/client-sts@3.1169.0',
  '@aws-sdk/lib-storage@3.1169.0',
  '@aws-sdk/s3-request-presigner@3.1163.0',
];
const PYTHON_PACKAGES = ['awscli==1.46.3'];

/** A cold set-up of both took 20 seconds on two cores. */
const SET_UP_LIMIT_MS = 4 * 60 * 1000;

/** A client of AWS's that is installed where sandboxes and tests can see it. */
export interface AwsClient {
  /** Why it cannot be tried on this machine. */
  readonly skip: string | undefined;
  /** Options of `run` for it. */
  readonly options: readonly string[];
  /** Shell text in a sandbox, to which arguments are added. */
  readonly inside: string;
  /** The same outside. */
  readonly outside: string;
}

export interface AwsClients {
  /** The program `aws-sdk.mjs`. */
  readonly sdk: AwsClient;
  /** The AWS command line. */
  readonly commandLine: AwsClient;
}

/** Installs AWS's clients where that was not done before, and lays the programs beside them. */
export function installAwsClients(): AwsClients {
  mkdirSync(CACHE, { recursive: true });
  const installer = new Installer(SET_UP_LIMIT_MS);
  const missing = {
    npm: installNpmPackages(installer, 'aws-npm', NPM_PACKAGES),
    python: installPythonPackages(installer, 'aws-python', PYTHON_PACKAGES),
  };
  if (missing.npm === undefined) {
    for (const file of readdirSync(PROGRAMS)) copyFileSync(join(PROGRAMS, file), join(CACHE, 'aws-npm', file));
  }
  const node = findHostNode();
  const isOutside = node !== undefined && !node.startsWith('/usr/');
  const cache = ['-v', `${CACHE}:${INSIDE}:ro`];
  const commandLine = (folder: string): string => `PYTHONPATH=${folder}/aws-python /usr/bin/python3 -m awscli`;
  return {
    sdk: {
      skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
      options: [...cache, ...(isOutside ? ['-v', `${node}:/node:ro`] : [])],
      inside: `${isOutside ? '/node' : 'node'} ${INSIDE}/aws-npm/aws-sdk.mjs`,
      outside: `${node} ${CACHE}/aws-npm/aws-sdk.mjs`,
    },
    commandLine: { skip: missing.python, options: cache, inside: commandLine(INSIDE), outside: commandLine(CACHE) },
  };
}
