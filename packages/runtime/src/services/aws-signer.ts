import type { SignatureV4 } from '@smithy/signature-v4';
import { countField, equalsIgnoringCase, fieldValue, fieldValues } from '../http/fields.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import type { SecretValue } from '../secrets/secret-value.ts';
import {
  readAwsHost,
  parseCredentialScope,
  readCredentialScope,
  type AwsEndpoint,
  type CredentialScope,
} from './aws-host.ts';
import { formatAwsTarget, readAwsTarget, type AwsParameter, type AwsTarget } from './aws-target.ts';
import type { RequestSigner, SigningPlan, SigningRequest, SigningResult } from './request-signer.ts';

/** SHA-256 and HMAC-SHA-256, as `@smithy/signature-v4` takes them: `new Hash(key)` with `update` and `digest`. */
export type AwsHash = ConstructorParameters<typeof SignatureV4>[0]['sha256'];

/** What requests are signed with. */
export interface AwsSignerOptions {
  readonly accessKeyId: string;
  readonly secretAccessKey: SecretValue;
  readonly sessionToken: SecretValue | null;
  /** What the sandbox has instead of the access key's identifier; a presigned URL is signed again only when it carries this one. */
  readonly sentinelAccessKeyId: string | null;
  readonly hash: AwsHash;
}

/** How the body enters a signature (`x-amz-content-sha256`). */
type Payload = { readonly kind: 'hashed' } | { readonly kind: 'declared'; readonly text: string };

/** What a request asks for, once it is clear that it can be signed. */
interface Reading {
  readonly endpoint: AwsEndpoint;
  readonly target: AwsTarget;
  readonly payload: Payload;
  /** How long a presigned request lives; null where the signature is in the header. */
  readonly expiry: Expiry | null;
}

/** The end of a presigned URL: so long after it was signed, or at a time. */
type Expiry = { readonly kind: 'after'; readonly seconds: number } | { readonly kind: 'at'; readonly epochS: number };

/** The signature that a URL carries. */
interface QuerySignature {
  readonly version: 2 | 4;
  readonly accessKeyId: string;
  /** Null in Version 2, which has none. */
  readonly scope: CredentialScope | null;
  readonly expiry: Expiry;
}

/** Why a request cannot be signed: a sentence's end after "This request to HOST cannot be signed: ". */
class Refusal {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

const CONTENT_HASH = 'x-amz-content-sha256';
const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';
/** Chunks with checksums in a trailer (`aws-chunked`), none of which is signed. */
const UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';

/** What a signature puts into the query, in lower case. None of the client's leaves. */
const SIGNATURE_PARAMETERS: ReadonlySet<string> = new Set([
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-expires',
  'x-amz-signedheaders',
  'x-amz-signature',
  'x-amz-security-token',
  'x-amz-s3session-token',
  'x-amz-region-set',
]);

/** Fields of a signature, and other keys of AWS that could ride along, with `-` for `_`. None of the client's leaves. */
const SIGNATURE_FIELDS: ReadonlySet<string> = new Set([
  'authorization',
  'date',
  'x-amz-date',
  'x-amz-security-token',
  'x-amz-s3session-token',
  'x-amz-region-set',
  'x-amz-sso-bearer-token',
  CONTENT_HASH,
]);

/** By these, in lower case, Signature Version 2 is known; and in S3 a URL that was presigned by it has also the others. */
const VERSION_2_MARK = 'awsaccesskeyid';
const VERSION_2_PARAMETERS: ReadonlySet<string> = new Set([VERSION_2_MARK, 'signature', 'expires']);

/** What a presigned URL may live at most: a week. */
const MAX_EXPIRES_S = 604_800;

/**
 * Signs requests to AWS with Signature Version 4 (`AWS4-HMAC-SHA256`), whatever they were signed with.
 *
 * `Host`, `Content-Type`, `Content-MD5` and every `x-amz-…` field are signed; all others may be changed on the way, as AWS's own clients
 * assume. Bodies stream where the client said their hash, or that they are not hashed; otherwise they are hashed first.
 *
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
 */
export class AwsSigner implements RequestSigner {
  readonly #options: AwsSignerOptions;

  constructor(options: AwsSignerOptions) {
    this.#options = options;
  }

  plan(request: SigningRequest): SigningPlan {
    const reading = this.#read(request);
    if (reading instanceof Refusal) return { kind: 'refused', detail: explain(request.authority, reading) };
    return { kind: reading.payload.kind === 'hashed' ? 'hashed' : 'streamed' };
  }

  async sign(
    request: SigningRequest & { readonly bodySha256: string | null; readonly nowMs: number },
  ): Promise<SigningResult> {
    const { authority, head, bodySha256, nowMs } = request;
    const reading = this.#read(request);
    if (reading instanceof Refusal) return { verdict: 'refused', detail: explain(authority, reading) };
    const { endpoint, target, expiry } = reading;
    const payload = payloadText(reading.payload, bodySha256);
    if (payload instanceof Refusal) return { verdict: 'refused', detail: explain(authority, payload) };

    const fields = head.fields.flatMap((name, at) =>
      at % 2 === 1 || SIGNATURE_FIELDS.has(name.toLowerCase().replaceAll('_', '-'))
        ? []
        : [name, head.fields[at + 1] ?? ''],
    );
    const expiresIn = expiry === null ? null : secondsLeft(expiry, nowMs);
    if (expiresIn instanceof Refusal) return { verdict: 'refused', detail: explain(authority, expiresIn) };
    const isPresigned = expiresIn !== null;
    if (!isPresigned) fields.push(CONTENT_HASH, payload);
    const signable = signableHeaders(fields);
    if (signable instanceof Refusal) return { verdict: 'refused', detail: explain(authority, signable) };

    const parameters = target.parameters.filter(({ name }) => !isSignatureParameter(name.toLowerCase(), expiry));
    const signer = await this.#open(endpoint);
    const unsigned = {
      method: head.method,
      protocol: `${authority.scheme}:`,
      hostname: authority.host,
      path: target.path,
      query: queryOf(parameters),
    };
    const signingDate = new Date(nowMs);
    if (isPresigned) {
      const { query = {} } = await signer.presign(
        { ...unsigned, headers: { ...signable, [CONTENT_HASH]: payload } },
        {
          signingDate,
          expiresIn,
          // Nothing moves into the query: fields stay where the client has them.
          unhoistableHeaders: new Set([...Object.keys(signable), CONTENT_HASH]),
          unsignableHeaders: new Set([CONTENT_HASH]),
        },
      );
      const added = Object.entries(query).flatMap(([name, value]): AwsParameter[] =>
        SIGNATURE_PARAMETERS.has(name.toLowerCase()) && typeof value === 'string' ? [{ name, value }] : [],
      );
      const signed = { path: target.path, parameters: [...parameters, ...added] };
      return { verdict: 'signed', head: { ...head, target: formatAwsTarget(signed), fields } };
    }
    const { headers } = await signer.sign({ ...unsigned, headers: signable }, { signingDate });
    for (const name of ['x-amz-date', 'x-amz-security-token', 'authorization']) {
      const value = headers[name];
      if (value !== undefined) fields.push(name, value);
    }
    return { verdict: 'signed', head: { ...head, target: formatAwsTarget({ path: target.path, parameters }), fields } };
  }

  async #open({ service, region, isS3 }: AwsEndpoint): Promise<SignatureV4> {
    // Loaded for the first request that needs it: it takes 50 ms.
    const { SignatureV4: Signer } = await import('@smithy/signature-v4');
    const { accessKeyId, secretAccessKey, sessionToken, hash } = this.#options;
    return new Signer({
      service,
      region,
      credentials: {
        accessKeyId,
        secretAccessKey: secretAccessKey.reveal(),
        ...(sessionToken === null ? {} : { sessionToken: sessionToken.reveal() }),
      },
      sha256: hash,
      uriEscapePath: !isS3,
      applyChecksum: false,
    });
  }

  /** Decides by the head alone what is to be signed. */
  #read({ authority, head }: SigningRequest): Reading | Refusal {
    if (head.method === 'TRACE') return new Refusal('TRACE gives back what it is asked with');
    if (authority.scheme !== 'https') return new Refusal('a signed request leaves over TLS only');
    if (countField(head.fields, 'authorization') > 1) return new Refusal('it has more than one Authorization field');
    const authorization = fieldValue(head.fields, 'authorization') ?? '';
    if (authorization.startsWith('AWS4-ECDSA-')) {
      return new Refusal('it is signed for several regions (AWS4-ECDSA-P256-SHA256, SigV4a), which is not supported');
    }
    // The path's form depends on the service, so the target is read again for S3.
    const preliminary = readAwsTarget(head.target, false);
    if (preliminary.verdict === 'refused') return new Refusal(preliminary.reason);
    const query = readQuerySignature(preliminary.target.parameters);
    if (query instanceof Refusal) return query;
    if (query !== null && authorization !== '') {
      return new Refusal('it is signed twice, in its Authorization field and in its query');
    }
    if (query !== null && query.accessKeyId !== this.#options.sentinelAccessKeyId) {
      return new Refusal(
        "its URL was presigned with a key that is not this sandbox's own, and no such key leaves while the host's are in use",
      );
    }
    const host = readAwsHost(authority.host, query === null ? readCredentialScope(authorization) : query.scope);
    if (host.verdict === 'refused') return new Refusal(`${authority.host} ${host.reason}`);
    const { endpoint } = host;
    if (query?.version === 2 && !endpoint.isS3) {
      return new Refusal('it is signed with Signature Version 2 in its query: sign it with Version 4');
    }
    const target = readAwsTarget(head.target, endpoint.isS3);
    if (target.verdict === 'refused') return new Refusal(target.reason);
    if (isFormUpload(endpoint, head)) {
      return new Refusal('a form upload carries its own signature in the body: upload with PUT instead');
    }
    const payload = readPayload(head.fields, target.target.parameters, endpoint, query !== null);
    if (payload instanceof Refusal) return payload;
    return { endpoint, target: target.target, payload, expiry: query?.expiry ?? null };
  }
}

function explain({ host }: Authority, { reason }: Refusal): string {
  return `This request to ${host} cannot be signed with the host's AWS credentials: ${reason}.`;
}

/** The signature that a presigned URL carries; null for a request that has none in its query. */
function readQuerySignature(parameters: readonly AwsParameter[]): QuerySignature | Refusal | null {
  const values = new Map<string, string>();
  for (const { name, value } of parameters) {
    const lower = name.toLowerCase();
    if (!SIGNATURE_PARAMETERS.has(lower) && !VERSION_2_PARAMETERS.has(lower)) continue;
    if (SIGNATURE_PARAMETERS.has(lower) && values.has(lower))
      return new Refusal(`its query has ${lower} more than once`);
    values.set(lower, value ?? '');
  }
  const isVersion4 = values.has('x-amz-signature') || values.has('x-amz-algorithm');
  const version2 = values.get(VERSION_2_MARK);
  if (version2 !== undefined) {
    const expires = values.get('expires') ?? '';
    if (isVersion4 || !values.has('signature') || !/^\d{1,12}$/.test(expires)) {
      return new Refusal(
        'it names an access key in its query, but has no signature of Version 2 there that can be read',
      );
    }
    return { version: 2, accessKeyId: version2, scope: null, expiry: { kind: 'at', epochS: Number(expires) } };
  }
  if (!isVersion4) return null;
  if (values.get('x-amz-algorithm') !== 'AWS4-HMAC-SHA256') {
    return new Refusal('its URL is presigned by another algorithm than AWS4-HMAC-SHA256');
  }
  const scope = parseCredentialScope(values.get('x-amz-credential') ?? '');
  if (scope === null) return new Refusal('its URL is presigned without a credential scope that can be read');
  const expires = values.get('x-amz-expires') ?? '';
  const seconds = /^\d{1,6}$/.test(expires) ? Number(expires) : 0;
  if (seconds < 1 || seconds > MAX_EXPIRES_S) {
    return new Refusal(`its URL is presigned for a time that is not between 1 and ${MAX_EXPIRES_S} seconds`);
  }
  return { version: 4, accessKeyId: scope.accessKeyId, scope, expiry: { kind: 'after', seconds } };
}

/** Version 2's are only those of a URL that it signed: `expires` and `signature` are names that others may use. */
function isSignatureParameter(lower: string, expiry: Expiry | null): boolean {
  return SIGNATURE_PARAMETERS.has(lower) || (expiry?.kind === 'at' && VERSION_2_PARAMETERS.has(lower));
}

function secondsLeft(expiry: Expiry, nowMs: number): number | Refusal {
  if (expiry.kind === 'after') return expiry.seconds;
  const seconds = expiry.epochS - Math.floor(nowMs / 1000);
  return seconds < 1 ? new Refusal('its URL has expired') : Math.min(seconds, MAX_EXPIRES_S);
}

/** `POST` of a browser's form to a bucket: the policy and its signature are fields of the form. */
function isFormUpload({ isS3 }: AwsEndpoint, { method, fields }: RequestHead): boolean {
  if (!isS3 || method !== 'POST') return false;
  return (fieldValue(fields, 'content-type') ?? '').toLowerCase().startsWith('multipart/form-data');
}

function readPayload(
  fields: readonly string[],
  parameters: readonly AwsParameter[],
  { isS3 }: AwsEndpoint,
  isPresigned: boolean,
): Payload | Refusal {
  const declared = fieldValues(fields, CONTENT_HASH);
  if (declared.length > 1) return new Refusal(`it has more than one ${CONTENT_HASH} field`);
  // A presigned URL says it in the query; the field is left out, unless it tells how the body is framed.
  const inQuery = parameters.find(({ name }) => name.toLowerCase() === CONTENT_HASH)?.value;
  const isFramed = declared[0]?.startsWith('STREAMING-') === true;
  const text = (isPresigned && !isFramed ? inQuery : declared[0]) ?? '';
  if (text === '') return isPresigned && isS3 ? { kind: 'declared', text: UNSIGNED_PAYLOAD } : { kind: 'hashed' };
  if (isHash(text) || text === UNSIGNED_PAYLOAD) return { kind: 'declared', text };
  if (text === UNSIGNED_TRAILER && isS3 && !isPresigned) return { kind: 'declared', text };
  if (text.startsWith('STREAMING-AWS4-')) {
    return new Refusal(
      "each part of its body is signed with the client's own key (STREAMING-AWS4-…), which cannot be signed again on the way: turn chunked signing off",
    );
  }
  return new Refusal(`its ${CONTENT_HASH} is not one that is known`);
}

/** What stands in for the body. A hash of what is sent goes before what the client said of what it sent. */
function payloadText(payload: Payload, bodySha256: string | null): string | Refusal {
  if (payload.kind === 'declared' && (bodySha256 === null || !isHash(payload.text))) return payload.text;
  if (bodySha256 === null) return new Refusal('its body was not hashed');
  return bodySha256;
}

function isHash(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * The fields that are signed, by their lower-case names. Lines of one name become one line, in `fields` as well, so that nobody has to
 * guess how they were joined.
 */
function signableHeaders(fields: string[]): Record<string, string> | Refusal {
  const values = new Map<string, string>();
  let kept = 0;
  const places = new Map<string, number>();
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] as string;
    const value = fields[at + 1] as string;
    const lower = name.toLowerCase();
    const isSigned = isSignedField(name, lower);
    const place = isSigned ? places.get(lower) : undefined;
    if (place !== undefined) {
      if (!lower.startsWith('x-amz-')) return new Refusal(`it has more than one ${lower} field`);
      const joined = `${values.get(lower) ?? ''},${value}`;
      values.set(lower, joined);
      fields[place] = joined;
      continue;
    }
    fields[kept] = name;
    fields[kept + 1] = value;
    if (isSigned) {
      places.set(lower, kept + 1);
      values.set(lower, value);
    }
    kept += 2;
  }
  fields.length = kept;
  for (const [name, value] of values) {
    // What such a field means, Latin-1 or UTF-8, differs from service to service.
    if (!isAscii(value)) return new Refusal(`its field ${name} holds characters beyond ASCII`);
  }
  return Object.fromEntries(values);
}

function isSignedField(name: string, lower: string): boolean {
  return (
    equalsIgnoringCase(name, 'host') ||
    equalsIgnoringCase(name, 'content-type') ||
    equalsIgnoringCase(name, 'content-md5') ||
    lower.startsWith('x-amz-')
  );
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7e) return false;
  return true;
}

function queryOf(parameters: readonly AwsParameter[]): Record<string, string[]> {
  const query = new Map<string, string[]>();
  for (const { name, value } of parameters) {
    const values = query.get(name);
    if (values === undefined) query.set(name, [value ?? '']);
    else values.push(value ?? '');
  }
  return Object.fromEntries(query);
}
