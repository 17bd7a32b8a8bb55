import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandSource } from './command-source.ts';
import { sourceFailed } from './fetched-value.ts';
import { parseObject } from './http-request.ts';
import type { ValueSourceSettings } from './value-source.ts';

/** The host's AWS keys. */
export interface AwsKeys {
  /** `ID:SECRET[:SESSION_TOKEN]`. */
  readonly text: string;
  /** Where they are from, for people. */
  readonly origin: string;
  /** When they end, in ms since 1970; null where that is not known. */
  readonly expiresAtMs: number | null;
}

/** A profile's settings, by their names. */
type Profile = ReadonlyMap<string, string>;

const MAX_FILE_BYTES = 1024 * 1024;

/** What keys are made of, so that they cannot be taken for something else in `ID:SECRET:TOKEN`. */
const KEY_TEXT = /^[\x21-\x39\x3b-\x7e]+$/;

/** Settings of profiles whose keys have to be asked for, and how they are called. The AWS command line can do that. */
const ASKING: Readonly<Record<string, string>> = {
  role_arn: 'assumes a role',
  sso_session: 'signs in at an identity center',
  sso_start_url: 'signs in at an identity center',
  login_session: 'signs in at a console',
};

/**
 * The AWS keys that the host's own programs would use: of the environment, else of the profile `AWS_PROFILE` (`default` without it) in
 * `~/.aws/credentials` and `~/.aws/config`: static keys, or what its `credential_process` prints. Null where there are none.
 *
 * A profile that has to ask AWS for its keys (a role, a sign-in) is refused: its keys are to be had by `credential_process`.
 *
 * @throws SallyportError SOURCE_FAILED, whose message quotes no value of a key.
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */
export async function findAwsKeys(settings: ValueSourceSettings, signal: AbortSignal): Promise<AwsKeys | null> {
  const { environment } = settings;
  const id = environment['AWS_ACCESS_KEY_ID'];
  const secret = environment['AWS_SECRET_ACCESS_KEY'];
  if (id && secret) {
    const origin = 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
    return keysOf(id, secret, environment['AWS_SESSION_TOKEN'], origin);
  }
  const { named, name, shared, configured } = await readChosenProfile(environment);
  if (shared === undefined && configured === undefined) {
    if (named === null) return null;
    throw sourceFailed(`There is no AWS profile ${JSON.stringify(name)}, in ~/.aws/credentials or in ~/.aws/config.`);
  }
  const origin = `the AWS profile ${JSON.stringify(name)}`;
  for (const [setting, what] of Object.entries(ASKING)) {
    // A profile that has both means the role.
    if (shared?.has(setting) === true || configured?.has(setting) === true) {
      throw sourceFailed(
        `The AWS profile ${JSON.stringify(name)} ${what}, which is not done here. Store its keys by a command that does it: sallyport secret set -g aws --command 'aws configure export-credentials --profile PROFILE'.`,
      );
    }
  }
  for (const profile of [shared, configured]) {
    const [accessKeyId, secretAccessKey] = [profile?.get('aws_access_key_id'), profile?.get('aws_secret_access_key')];
    if (accessKeyId && secretAccessKey) {
      return keysOf(accessKeyId, secretAccessKey, profile?.get('aws_session_token'), origin);
    }
    const command = profile?.get('credential_process');
    if (command) return await askProcess(command, settings, signal, origin);
  }
  if (named === null) return null;
  throw sourceFailed(`The AWS profile ${JSON.stringify(name)} has neither keys nor a credential_process.`);
}

/**
 * The region that the host's own programs would ask: `AWS_REGION`, `AWS_DEFAULT_REGION`, else the profile's; null where there is none.
 *
 * @throws SallyportError SOURCE_FAILED when a file that may name it cannot be read.
 */
export async function findAwsRegion(environment: NodeJS.ProcessEnv): Promise<string | null> {
  const given = environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'];
  if (given) return given;
  const { shared, configured } = await readChosenProfile(environment);
  return shared?.get('region') || configured?.get('region') || null;
}

interface ChosenProfile {
  /** As the environment names it; null where it does not. */
  readonly named: string | null;
  readonly name: string;
  /** Of `~/.aws/credentials`. */
  readonly shared: Profile | undefined;
  /** Of `~/.aws/config`. */
  readonly configured: Profile | undefined;
}

async function readChosenProfile(environment: NodeJS.ProcessEnv): Promise<ChosenProfile> {
  const named = environment['AWS_PROFILE'] || environment['AWS_DEFAULT_PROFILE'] || null;
  const name = named ?? 'default';
  const home = environment['HOME'];
  const pathOf = (variable: string, file: string): string | null =>
    environment[variable] || (home ? join(home, '.aws', file) : null);
  const shared = (await readProfiles(pathOf('AWS_SHARED_CREDENTIALS_FILE', 'credentials'))).get(name);
  const configuration = await readProfiles(pathOf('AWS_CONFIG_FILE', 'config'));
  const configured = configuration.get(`profile ${name}`) ?? (name === 'default' ? configuration.get(name) : undefined);
  return { named, name, shared, configured };
}

function keysOf(id: string, secret: string, token: string | undefined, origin: string): AwsKeys {
  const parts = [id, secret, ...(token ? [token] : [])];
  if (!parts.every((part) => KEY_TEXT.test(part))) {
    throw sourceFailed(
      `The AWS keys of ${origin} hold a character that no key has: white space, a colon or what is beyond ASCII.`,
    );
  }
  return { text: parts.join(':'), origin, expiresAtMs: null };
}

/** https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html */
async function askProcess(
  command: string,
  settings: ValueSourceSettings,
  signal: AbortSignal,
  profile: string,
): Promise<AwsKeys> {
  const origin = `the credential_process of ${profile}`;
  const output = await new CommandSource(command, settings).fetch(signal).catch((error: unknown) => {
    throw sourceFailed(`${origin} gave no keys: ${error instanceof Error ? error.message : 'it failed'}`, {
      cause: error,
    });
  });
  const answer = parseObject(Buffer.from(output).toString('utf8'));
  output.fill(0);
  const {
    Version: version,
    AccessKeyId: id,
    SecretAccessKey: secret,
    SessionToken: token,
    Expiration: end,
  } = answer ?? {};
  if (version !== 1 || typeof id !== 'string' || typeof secret !== 'string' || id === '' || secret === '') {
    throw sourceFailed(`${origin} printed no keys in the form that AWS describes (JSON with Version 1).`);
  }
  const expiresAtMs = typeof end === 'string' ? Date.parse(end) : Number.NaN;
  return {
    ...keysOf(id, secret, typeof token === 'string' ? token : undefined, origin),
    expiresAtMs: Number.isNaN(expiresAtMs) ? null : expiresAtMs,
  };
}

/** The sections of a file of AWS's, by their names; none where there is no such file. */
async function readProfiles(path: string | null): Promise<ReadonlyMap<string, Profile>> {
  if (path === null) return new Map();
  const subject = `The file ${JSON.stringify(path)}`;
  // Without O_NONBLOCK a FIFO would hold this up for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch(
    (error: unknown) => {
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw sourceFailed(`${subject} cannot be read (${code}).`, { cause: error });
    },
  );
  if (file === null) return new Map();
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw sourceFailed(`${subject} is not a regular file.`);
    if (stat.size > MAX_FILE_BYTES) throw sourceFailed(`${subject} is longer than ${MAX_FILE_BYTES} bytes.`);
    return parseProfiles(await file.readFile('utf8'));
  } finally {
    await file.close();
  }
}

/**
 * Reads the format of AWS's files: sections in brackets, `name = value`, comments by `#` and `;`. Lines that are set in are settings of a
 * setting (`s3 =`), and are left out; of what stands twice the last counts.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
export function parseProfiles(text: string): ReadonlyMap<string, Profile> {
  const profiles = new Map<string, Map<string, string>>();
  let profile: Map<string, string> | null = null;
  for (const line of text.split(/\r?\n/)) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#') || trimmed.startsWith(';')) continue;
    if (trimmed.startsWith('[')) {
      const end = trimmed.indexOf(']');
      const name = end === -1 ? '' : sectionName(trimmed.slice(1, end).trim());
      profile = profiles.get(name) ?? new Map<string, string>();
      profiles.set(name, profile);
      continue;
    }
    if (profile === null || line !== line.trimStart()) continue;
    const equals = trimmed.indexOf('=');
    if (equals === -1) continue;
    profile.set(trimmed.slice(0, equals).trim().toLowerCase(), withoutComment(trimmed.slice(equals + 1)).trim());
  }
  return profiles;
}

/** `profile "a b"` and `profile   x` are written like `profile x`. */
function sectionName(text: string): string {
  const space = text.search(/\s/);
  if (space === -1) return text;
  const name = text.slice(space).trim();
  const isQuoted = name.length > 1 && name.startsWith('"') && name.endsWith('"');
  return `${text.slice(0, space)} ${isQuoted ? name.slice(1, -1) : name}`;
}

/** A comment behind a value begins with white space. */
function withoutComment(value: string): string {
  const at = value.search(/\s[#;]/);
  return at === -1 ? value : value.slice(0, at);
}
