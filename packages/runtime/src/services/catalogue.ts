import { anthropic } from './anthropic.ts';
import { aws } from './aws.ts';
import { cursor } from './cursor.ts';
import { github } from './github.ts';
import { gitlab } from './gitlab.ts';
import { google } from './google.ts';
import { groq } from './groq.ts';
import { huggingface } from './huggingface.ts';
import { mistral } from './mistral.ts';
import { nebius } from './nebius.ts';
import { npm } from './npm.ts';
import { openai } from './openai.ts';
import { openrouter } from './openrouter.ts';
import { pypi } from './pypi.ts';
import type { ServiceDefinition } from './service.ts';
import { xai } from './xai.ts';

/** The services that are built in, by name. */
export const SERVICES: readonly ServiceDefinition[] = [
  anthropic,
  aws,
  cursor,
  github,
  gitlab,
  google,
  groq,
  huggingface,
  mistral,
  nebius,
  npm,
  openai,
  openrouter,
  pypi,
  xai,
];

const byName = new Map(SERVICES.map((service) => [service.name, service]));

/** The built-in service of that name. */
export function findService(name: string): ServiceDefinition | undefined {
  return byName.get(name);
}

const MAX_NAME_CHARACTERS = 64;

/** Whether a service may be called that: lower case letters, digits, `.`, `_` and `-`. It need not be one of the catalogue: kits have their own. */
export function isServiceName(text: string): boolean {
  return text.length <= MAX_NAME_CHARACTERS && /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/u.test(text);
}
