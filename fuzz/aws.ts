/**
 * Fuzz target for requests to AWS that are signed again: whatever a client sends, there is a refusal, or a signature of the host's own that
 * independent code accepts, for the service and region of the host alone, and nothing of what the client signed with is left.
 *
 * `node --conditions=sallyport-source fuzz/aws.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { createHash } from 'node:crypto';
import { startSignatureVerifier, whyNoVerifier } from '../e2e/harness/sigv4-verifier.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';
import { AwsSigner } from '../packages/runtime/src/services/aws-signer.ts';
import { AwsHash } from '../packages/runtime/src/sources/aws-hash.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import type { Random } from './http1/random.ts';

const KEY = {
  id: 'AKIAREAL000000000001',
  secret: 'real/secret+of/forty/characters/00000001',
  token: 'real+session/token==',
};
const SENTINEL = 'AKIASENTINEL00000000';
/** In everything that the client signs with; nothing of it may leave there. */
const FOREIGN = 'FOREIGN';
const NOW_MS = Date.UTC(2026, 10, 22, 12);

type Case = { host: string; method: string; target: string; fields: string[]; body: string; isHonest: number };

const HOST_LABELS = ['s3', 'sts', 'iam', 'bedrock-runtime', 'bucket', 'dualstack', 'fips', 's3-fips', 's3-accelerate', 's3-control', 'ddb', 'queue', 'execute-api', 'elb', '123456789012', 'us-east-1', 'eu-west-1', 'us-gov', 'global', 'cn-north-1', 's3-us-west-2', 's3express', 'stream-logs', 'api', 'ecr']; // prettier-ignore
const SUFFIXES = [
  'amazonaws.com',
  'amazonaws.com',
  'amazonaws.com',
  'amazonaws.com.cn',
  'api.aws',
  'amazonaws.eu',
  'example.com',
];
const PATH_PIECES = ['/', '//', '/.', '/..', 'a', '~', '%2F', '%2e', '%41', '%C3%A9', '%2B', ' ', '*', "'", '(', ':', '@', '=', '%25']; // prettier-ignore
const BROKEN_PIECES = ['%', '%2', '%ff', '+', '\xe9'];
const NAMES = [
  'a',
  'a-b',
  'A',
  'prefix',
  'uploads',
  'constructor',
  '',
  '%C3%BC',
  '+',
  'x-amz-acl',
  'expires',
  'signature',
];
const SIGNING_NAMES = ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders', 'X-Amz-Signature', 'X-Amz-Security-Token', 'x-amz-signature', 'AWSAccessKeyId', 'Signature', 'Expires']; // prettier-ignore
const SIGNING_VALUES = ['AWS4-HMAC-SHA256', FOREIGN, '60', '0', '9999999999', SENTINEL, `${SENTINEL}/20260101/eu-west-1/s3/aws4_request`, `${SENTINEL}%2F20260101%2Fus-east-1%2Fsts%2Faws4_request`, '']; // prettier-ignore
const FIELDS = ['x-amz-meta-a', 'X-Amz-Meta-A', 'x-amz-acl', 'Content-Type', 'content-md5', 'Accept'];
const SIGNING_FIELDS = ['Authorization', 'authorization', 'Date', 'X-Amz-Date', 'x-amz-date', 'X-Amz-Security-Token', 'x_amz_security_token', 'x-amz-s3session-token', 'x-amz-sso_bearer_token']; // prettier-ignore
const AUTHORIZATIONS = [
  `AWS4-HMAC-SHA256 Credential=${FOREIGN}/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=${FOREIGN}`,
  `AWS4-HMAC-SHA256 Credential=${FOREIGN}/20260101/us-east-1/sts/aws4_request,Signature=${FOREIGN}`,
  `AWS4-HMAC-SHA256 Credential=${FOREIGN}/////aws4_request`,
  `AWS4-ECDSA-P256-SHA256 Credential=${FOREIGN}`,
  `AWS ${FOREIGN}:${FOREIGN}`,
  `Bearer ${FOREIGN}`,
  '',
];
const VALUES = ['', 'a', ' a   b ', 'a\tb', '\xe9', 'a,b', 'text/plain', 'x'.repeat(200)];

/** Mostly one that need not be refused. */
function pickPiece(random: Random): string {
  return random.pick(random.oneIn(12) ? BROKEN_PIECES : PATH_PIECES);
}

function generateTarget(random: Random): string {
  const path = Array.from({ length: random.below(6) }, () => pickPiece(random)).join('');
  const parts = Array.from({ length: random.below(4) }, () =>
    random.oneIn(20)
      ? '__proto__'
      : random.oneIn(3)
        ? random.pick(NAMES)
        : `${random.pick(NAMES)}=${pickPiece(random)}`,
  );
  const kind = random.below(10);
  if (kind === 0) {
    const count = 1 + random.below(6);
    for (let at = 0; at < count; at++) parts.push(`${random.pick(SIGNING_NAMES)}=${random.pick(SIGNING_VALUES)}`);
  } else if (kind < 4) {
    parts.push('X-Amz-Algorithm=AWS4-HMAC-SHA256', `X-Amz-Credential=${random.pick(SIGNING_VALUES)}`, `X-Amz-Expires=${random.pick(['60', '1', 'x'])}`, `X-Amz-Signature=${FOREIGN}`); // prettier-ignore
  }
  return `/${path}${parts.length === 0 ? '' : `?${parts.join('&')}`}`;
}

/** Where a signature stands, and whatever else opens AWS. */
function isSignaturePlace(name: string): boolean {
  const lower = name.toLowerCase().replaceAll('_', '-');
  return [...SIGNING_FIELDS, ...SIGNING_NAMES.slice(0, -2)].some(
    (place) => place.toLowerCase().replaceAll('_', '-') === lower,
  );
}

/** Labels that stand beside the name of an endpoint. */
function isNoName(label: string): boolean {
  return ['fips', 'dualstack', 'global', 'us-gov'].includes(label);
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  // Without one, what needs no verdict is still looked at.
  const verifier = whyNoVerifier() === undefined ? startSignatureVerifier({ [KEY.id]: KEY }) : null;
  const signer = new AwsSigner({
    accessKeyId: KEY.id,
    secretAccessKey: new SecretValue(KEY.secret),
    sessionToken: new SecretValue(KEY.token),
    sentinelAccessKeyId: SENTINEL,
    hash: AwsHash,
  });
  return {
    name: 'aws',
    generate(random) {
      const labels = Array.from({ length: 1 + random.below(4) }, () => random.pick(HOST_LABELS));
      const host =
        random.below(4) > 0
          ? random.pick([
              'bucket.s3.eu-west-1.amazonaws.com',
              's3.eu-west-1.amazonaws.com',
              'sts.us-east-1.amazonaws.com',
            ])
          : `${labels.join('.')}.${random.pick(SUFFIXES)}`;
      const body = random.pick(['', 'content', '\xff\x00']);
      const isHonest = random.oneIn(6) ? 0 : 1;
      const fields = Array.from({ length: random.below(4) }, () => [random.pick(FIELDS), random.pick(VALUES).trim()]);
      for (let count = random.below(3); count > 0; count--) {
        const name = random.pick(SIGNING_FIELDS);
        fields.push([name, name.toLowerCase() === 'authorization' ? random.pick(AUTHORIZATIONS) : FOREIGN]);
      }
      const hash = createHash('sha256')
        .update(isHonest === 1 ? body : `${body}!`, 'latin1')
        .digest('hex');
      const strange = random.pick([
        'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
        FOREIGN,
        'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      ]);
      const payload = random.oneIn(12) ? strange : random.pick(['', hash, 'UNSIGNED-PAYLOAD']);
      if (payload !== '') fields.push(['x-amz-content-sha256', payload]);
      const isChunked = payload === 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
      if (isChunked) fields.push(['x-amz-decoded-content-length', '0']);
      return {
        host,
        method: random.pick(['GET', 'PUT', 'POST', 'DELETE', 'HEAD', 'PATCH', 'TRACE']),
        target: generateTarget(random),
        fields: fields.flat(),
        body: isChunked ? '0\r\n\r\n' : body,
        isHonest,
      };
    },
    async check({ host, method, target, fields, body, isHonest }, note) {
      // Smaller cases have parts that the gate lets nobody send.
      if (method === '' || host === '' || !target.startsWith('/') || fields.length % 2 === 1) return null;
      const authority = { scheme: 'https', host, port: 443 } as const;
      const head = { method, target, minor: 1 as const, fields: ['Host', host, ...fields] };
      const before = JSON.stringify(head);
      const bytes = Buffer.from(body, 'latin1');
      const plan = signer.plan({ authority, head });
      const bodySha256 = plan.kind === 'hashed' ? createHash('sha256').update(bytes).digest('hex') : null;
      const result = await signer.sign({ authority, head, bodySha256, nowMs: NOW_MS });
      if (JSON.stringify(head) !== before) return 'the request was changed in place';
      if (result.verdict === 'refused') {
        note('refused');
        if (result.detail.includes(FOREIGN)) return 'a refusal quotes what was signed with';
        return plan.kind === 'refused' && plan.detail !== result.detail ? 'two refusals: of plan and sign' : null;
      }
      if (plan.kind === 'refused') return 'signed although the plan refused';
      const { head: signed } = result;
      const headers = signed.fields.flatMap((name, at): [string, string][] =>
        at % 2 === 0 ? [[name, signed.fields[at + 1] ?? '']] : [],
      );
      for (const [name, value] of [...headers, ...new URLSearchParams(signed.target.split('?')[1])]) {
        if (isSignaturePlace(name) && (value.includes(FOREIGN) || value.includes(SENTINEL)))
          return `left over: ${name}`;
      }
      if (verifier === null) return null;
      const verdict = await verifier.verify({ method, target: signed.target, headers, body: bytes }, NOW_MS);
      if (!verdict.ok) {
        note('a lie about the body');
        return isHonest === 0 && verdict.reason === 'another body than was signed'
          ? null
          : `not accepted: ${verdict.reason}`;
      }
      note(signed.target.includes('X-Amz-Signature') ? 'signed in the query' : 'signed');
      if (verdict.id !== KEY.id) return 'another key';
      const labels = host.split('.');
      const isS3Host = labels.some((label) => label === 's3' || label.startsWith('s3-'));
      if (verdict.service.startsWith('s3') && !isS3Host) return `the service: ${verdict.service} for ${host}`;
      const isCustomers = labels.length > 4 && ['execute-api', 'elb'].some((label) => labels.slice(1).includes(label));
      if ((isCustomers && !isS3Host && !labels.some(isNoName)) || host.endsWith('example.com'))
        return `a host of somebody else: ${host}`;
      return null;
    },
    close: () => verifier?.[Symbol.dispose](),
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 4000);
