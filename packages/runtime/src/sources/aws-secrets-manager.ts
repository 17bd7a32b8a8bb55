import { finishValue, sourceFailed } from './fetched-value.ts';
import { parseObject, sendRequest, textMember } from './http-request.ts';
import { AwsHash } from './aws-hash.ts';
import { findAwsKeys, findAwsRegion, type AwsKeys } from './aws-profile.ts';
import { AWS_REGION, type Reference } from './reference.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

const SERVICE = 'secretsmanager';
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** What errors of AWS are called: a name that its code writes, and no text. */
const ERROR_NAME = /(?:^|#)([A-Za-z]{1,64})$/;

/**
 * A value in AWS Secrets Manager, asked for with the host's credentials.
 * https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
 */
export class AwsSecretSource implements ValueSource {
  readonly description: string;
  readonly #reference: Extract<Reference, { kind: 'aws-sm' }>;
  readonly #settings: ValueSourceSettings;

  constructor(reference: Extract<Reference, { kind: 'aws-sm' }>, settings: ValueSourceSettings) {
    this.description = reference.canonical;
    this.#reference = reference;
    this.#settings = settings;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    const { environment, timeLimitMs } = this.#settings;
    const { secretId, version, key } = this.#reference;
    const region = this.#reference.region ?? (await findAwsRegion(environment));
    if (region === null) {
      throw sourceFailed(`${this.description} needs a region: add ?region=REGION to it, or set AWS_REGION.`);
    }
    if (!AWS_REGION.test(region)) throw sourceFailed(`${JSON.stringify(region)} is no region of AWS.`);
    const url = endpointOf(region, environment);
    const subject = `AWS Secrets Manager at ${url.origin}`;
    const authorityFile = environment['AWS_CA_BUNDLE'] || undefined;
    const body = JSON.stringify({
      SecretId: secretId,
      ...(version === null ? {} : UUID.test(version) ? { VersionId: version } : { VersionStage: version }),
    });
    const keys = await findAwsKeys(this.#settings, signal);
    if (keys === null) {
      throw sourceFailed(
        `${this.description} needs credentials of AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.`,
      );
    }
    const headers = await signHeaders(url, body, region, keys);
    const answer = await sendRequest(
      { method: 'POST', url, headers, body, authorityFile, signal, timeLimitMs },
      subject,
    );
    const text = answer.body.toString('utf8');
    answer.body.fill(0);
    const object = parseObject(text);
    if (answer.status !== 200) {
      const type = object?.['__type'];
      const name = typeof type === 'string' ? (ERROR_NAME.exec(type)?.[1] ?? null) : null;
      throw sourceFailed(`${subject} answered with ${name ?? `status ${answer.status}`} for ${this.description}.`);
    }
    if (object === null) throw sourceFailed(`${subject} answered with something else than a JSON object.`);
    return finishValue(takeValue(object, key, this.description), this.description);
  }
}

function takeValue(object: Readonly<Record<string, unknown>>, key: string | null, description: string): Buffer {
  const { SecretString: text, SecretBinary: binary } = object;
  if (typeof text === 'string') {
    if (key === null) return Buffer.from(text);
    const members = parseObject(text);
    if (members === null) throw sourceFailed(`The secret of ${description} is no JSON object, so it has no keys.`);
    return Buffer.from(textMember(members, key, `The secret of ${description}`));
  }
  if (typeof binary !== 'string') throw sourceFailed(`AWS Secrets Manager gave no value for ${description}.`);
  if (key !== null) throw sourceFailed(`The secret of ${description} is binary, so it has no keys.`);
  return Buffer.from(binary, 'base64');
}

/** https://docs.aws.amazon.com/general/latest/gr/asm.html */
function endpointOf(region: string, environment: NodeJS.ProcessEnv): URL {
  const variable = ['AWS_ENDPOINT_URL_SECRETS_MANAGER', 'AWS_ENDPOINT_URL'].find((name) => environment[name]);
  const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  const text = variable === undefined ? `https://${SERVICE}.${region}.${suffix}` : (environment[variable] ?? '');
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.search !== '') {
    throw sourceFailed(`${variable ?? 'The region'} gives no usable URL.`);
  }
  return url;
}

async function signHeaders(url: URL, body: string, region: string, { text }: AwsKeys): Promise<Record<string, string>> {
  // Loaded when it is needed: it is not needed often.
  const { SignatureV4 } = await import('@smithy/signature-v4');
  const [accessKeyId = '', secretAccessKey = '', sessionToken] = text.split(':');
  const credentials = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  const signer = new SignatureV4({ service: SERVICE, region, credentials, sha256: AwsHash });
  const signed = await signer.sign({
    method: 'POST',
    protocol: url.protocol,
    hostname: url.hostname,
    ...(url.port === '' ? {} : { port: Number(url.port) }),
    path: url.pathname,
    query: {},
    headers: {
      host: url.host,
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': `${SERVICE}.GetSecretValue`,
    },
    body,
  });
  return signed.headers;
}
