import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CACHE, INSIDE, Installer, installNpmPackages, installPythonPackages } from '../harness/client-cache.ts';

const PROGRAMS = fileURLToPath(new URL('programs', import.meta.url));

const NPM_PACKAGES = ['@anthropic-ai/sdk@1.12.0', '@google/genai@2.32.0', 'octokit@5.0.5', 'openai@6.49.0'];
const PYTHON_PACKAGES = ['anthropic==2.12.0', 'openai==3.54.0'];

/** A cold set-up of both took half a minute on two cores. */
const SET_UP_LIMIT_MS = 4 * 60 * 1000;

/** Where a sandbox sees the SDKs and the programs that use them. */
export const NODE_SDKS = `${INSIDE}/sdks-npm`;
export const PYTHON_SDKS = `${INSIDE}/sdks-python`;

/** Options of `run` for them. */
export const SDK_OPTIONS: readonly string[] = ['-v', `${CACHE}:${INSIDE}:ro`];

/** Why the vendors' SDKs cannot be tried here; undefined where they can. */
export interface MissingSdks {
  readonly npm: string | undefined;
  readonly python: string | undefined;
}

/** Installs the vendors' SDKs where that was not done before, and lays the programs beside them. */
export function installSdks(): MissingSdks {
  mkdirSync(CACHE, { recursive: true });
  const installer = new Installer(SET_UP_LIMIT_MS);
  const missing = {
    npm: installNpmPackages(installer, 'sdks-npm', NPM_PACKAGES),
    python: installPythonPackages(installer, 'sdks-python', PYTHON_PACKAGES),
  };
  for (const file of readdirSync(PROGRAMS)) {
    const [folder, reason] = file.endsWith('.py') ? ['sdks-python', missing.python] : ['sdks-npm', missing.npm];
    if (reason === undefined) copyFileSync(join(PROGRAMS, file), join(CACHE, folder, file));
  }
  return missing;
}
