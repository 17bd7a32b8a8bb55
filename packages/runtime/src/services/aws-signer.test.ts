import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import {
  startSignatureVerifier,
  whyNoVerifier,
  type SignatureVerifier,
} from '../../../../e2e/harness/sigv4-verifier.ts';
import { AwsHash } from '../sources/aws-hash.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { AwsSigner } from './aws-signer.ts';

const SENTINEL_ID = 'AKIASENTINEL00000000';
const SENTINEL_SECRET = 'sentinel/secret/of/forty/characters+0000';
const KEY = { id: 'AKIDEXAMPLE000000001', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY', token: null };
const TEMPORARY = {
  id: 'ASIAEXAMPLE000000002',
  secret: 'tJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  token: 'IQoJ+/token==',
};
const NOW_MS = Date.UTC(2026, 10, 22, 12, 0, 0);
const EMPTY = createHash('sha256').digest('hex');

/** For tests that let independent code judge. */
const verified = { skip: whyNoVerifier() ?? false };

let verifier: SignatureVerifier;
before(() => {
  if (verified.skip !== false) return;
  verifier = startSignatureVerifier(
    Object.fromEntries([KEY, TEMPORARY].map(({ id, secret, token }) => [id, { secret, token }])),
  );
});
after(() => {
  if (verified.skip === false) verifier[Symbol.dispose]();
});

function signerOf({ id, secret, token }: typeof KEY | typeof TEMPORARY): AwsSigner {
  return new AwsSigner({
    accessKeyId: id,
    secretAccessKey: new SecretValue(secret),
    sessionToken: token === null ? null : new SecretValue(token),
    sentinelAccessKeyId: SENTINEL_ID,
    hash: AwsHash,
  });
}

interface Sent {
  readonly host?: string;
  readonly method?: string;
  readonly target?: string;
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly key?: typeof KEY | typeof TEMPORARY;
}

function requestOf({ host = 'sts.us-east-1.amazonaws.com', method = 'GET', target = '/', fields = [] }: Sent) {
  const authority: Authority = { scheme: 'https', host, port: 443 };
  const head: RequestHead = { method, target, minor: 1, fields: ['Host', host, ...fields] };
  return { authority, head };
}

function authorizationFor(region: string, service: string, id = SENTINEL_ID): string[] {
  const credential = `${id}/20260101/${region}/${service}/aws4_request`;
  return [
    'Authorization',
    `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=${'0'.repeat(64)}`,
  ];
}

/** Signs as the gate does, and gives the verifier what would be sent. */
async function signAndVerify(sent: Sent) {
  const request = requestOf(sent);
  const signer = signerOf(sent.key ?? KEY);
  const plan = signer.plan(request);
  assert.notEqual(plan.kind, 'refused', JSON.stringify(plan));
  const body = Buffer.from(sent.body ?? '', 'latin1');
  const bodySha256 = plan.kind === 'hashed' ? createHash('sha256').update(body).digest('hex') : null;
  const result = await signer.sign({ ...request, bodySha256, nowMs: NOW_MS });
  assert.equal(result.verdict, 'signed', JSON.stringify(result));
  const { head } = result;
  const headers = Array.from({ length: head.fields.length / 2 }, (_, index): [string, string] => [
    head.fields[2 * index]!,
    head.fields[2 * index + 1]!,
  ]);
  const verdict = await verifier.verify({ method: head.method, target: head.target, headers, body }, NOW_MS);
  return { head, verdict, headers };
}

async function assertSigned(
  sent: Sent,
  wanted: { readonly service: string; readonly region: string; readonly payload?: string },
) {
  const { verdict, head, headers } = await signAndVerify(sent);
  assert.ok(verdict.ok, `${verdict.ok ? '' : verdict.reason}: ${JSON.stringify(sent)}`);
  const { service, region, payload } = verdict;
  assert.deepEqual({ service, region }, { service: wanted.service, region: wanted.region });
  if (wanted.payload !== undefined) assert.equal(payload, wanted.payload);
  assert.equal(verdict.id, (sent.key ?? KEY).id);
  return { head, headers };
}

function refusalOf(sent: Sent): string {
  const plan = signerOf(KEY).plan(requestOf(sent));
  return plan.kind === 'refused' ? plan.detail : assert.fail(`not refused: ${JSON.stringify(sent)}`);
}

const S3 = 's3.eu-west-1.amazonaws.com';
const HASH = ['x-amz-content-sha256', EMPTY];

describe('AwsSigner', () => {
  test('sign() replaces what the client signed with, token and date included', verified, async () => {
    const fields = [
      ...authorizationFor('us-east-1', 'sts', 'AKIAFOREIGN000000000'),
      'X-Amz-Date',
      '20200101T000000Z',
      'Date',
      'Wed, 01 Jan 2020 00:00:00 GMT',
      'X-Amz-Security-Token',
      'foreign-token',
      'x-amz-s3session-token',
      'foreign-session',
      'x_amz_security_token',
      'foreign-spelling',
    ];
    const { headers } = await assertSigned({ fields }, { service: 'sts', region: 'us-east-1', payload: EMPTY });
    assert.ok(!JSON.stringify(headers).includes('oreign'));
    assert.ok(!JSON.stringify(headers).includes('2020'));
    const { headers: temporary } = await assertSigned(
      { fields, key: TEMPORARY },
      { service: 'sts', region: 'us-east-1' },
    );
    assert.deepEqual(
      temporary.filter(([name]) => name.toLowerCase() === 'x-amz-security-token').map(([, value]) => value),
      [TEMPORARY.token],
    );
  });

  test('sign() hashes a body unless the client said how it is to be signed', verified, async () => {
    const post = {
      method: 'POST',
      body: 'Action=GetCallerIdentity',
      fields: ['Content-Type', 'application/x-www-form-urlencoded'],
    };
    const hash = createHash('sha256').update(post.body).digest('hex');
    assert.equal(signerOf(KEY).plan(requestOf(post)).kind, 'hashed');
    await assertSigned(post, { service: 'sts', region: 'us-east-1', payload: hash });
    const declared = { ...post, fields: [...post.fields, 'x-amz-content-sha256', hash] };
    assert.equal(signerOf(KEY).plan(requestOf(declared)).kind, 'streamed');
    await assertSigned(declared, { service: 'sts', region: 'us-east-1', payload: hash });
    const put = { host: S3, method: 'PUT', target: '/bucket/key', body: 'content' };
    for (const payload of ['UNSIGNED-PAYLOAD', createHash('sha256').update('content').digest('hex')]) {
      const fields = ['x-amz-content-sha256', payload];
      await assertSigned({ ...put, fields }, { service: 's3', region: 'eu-west-1', payload });
    }
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32('content'));
    const crc = sum.toString('base64');
    const chunked = {
      ...put,
      body: `7\r\ncontent\r\n0\r\nx-amz-checksum-crc32:${crc}\r\n\r\n`,
      fields: [
        'content-encoding',
        'aws-chunked',
        'x-amz-decoded-content-length',
        '7',
        'x-amz-trailer',
        'x-amz-checksum-crc32',
        'x-amz-content-sha256',
        'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      ],
    };
    await assertSigned(chunked, { service: 's3', region: 'eu-west-1', payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' });
  });

  test('sign() prefers the hash of what is sent to the one that the client declared', async () => {
    const request = requestOf({ host: S3, method: 'PUT', target: '/b/k', fields: HASH });
    const bodySha256 = createHash('sha256').update('changed').digest('hex');
    const result = await signerOf(KEY).sign({ ...request, bodySha256, nowMs: NOW_MS });
    assert.ok(result.verdict === 'signed');
    assert.equal(result.head.fields[result.head.fields.indexOf('x-amz-content-sha256') + 1], bodySha256);
    assert.equal(request.head.fields.includes(bodySha256), false);
  });

  test(
    'sign() takes service and region from the host, and from the client what the host leaves open',
    verified,
    async () => {
      const rows: [host: string, scope: [string, string] | null, service: string, region: string][] = [
        ['bedrock-runtime.us-west-2.amazonaws.com', ['us-west-2', 'bedrock'], 'bedrock', 'us-west-2'],
        ['bedrock-runtime.us-west-2.amazonaws.com', ['us-east-1', 'sts'], 'bedrock', 'us-west-2'],
        ['bedrock-runtime-fips.us-east-1.amazonaws.com', null, 'bedrock', 'us-east-1'],
        ['sts.amazonaws.com', null, 'sts', 'us-east-1'],
        ['sts.cn-north-1.amazonaws.com.cn', null, 'sts', 'cn-north-1'],
        ['iam.amazonaws.com', ['us-east-1', 'iam'], 'iam', 'us-east-1'],
        ['iam.us-gov.amazonaws.com', null, 'iam', 'us-gov-west-1'],
        ['iam.global.api.aws', null, 'iam', 'us-east-1'],
        ['dynamodb.us-gov-east-1.amazonaws.com', null, 'dynamodb', 'us-gov-east-1'],
        ['123456789012.ddb.eu-central-1.amazonaws.com', null, 'dynamodb', 'eu-central-1'],
        ['lambda.eu-west-3.api.aws', null, 'lambda', 'eu-west-3'],
        ['fips.batch.us-east-1.amazonaws.com', null, 'batch', 'us-east-1'],
        ['runtime-fips.sagemaker.us-east-1.amazonaws.com', null, 'sagemaker', 'us-east-1'],
        ['api.ecr.us-east-1.amazonaws.com', null, 'ecr', 'us-east-1'],
        ['email.eu-west-1.amazonaws.com', null, 'ses', 'eu-west-1'],
        ['stream-logs.eu-west-1.amazonaws.com', ['eu-west-1', 'logs'], 'logs', 'eu-west-1'],
        ['us-west-2.queue.amazonaws.com', null, 'sqs', 'us-west-2'],
        ['s3.amazonaws.com', null, 's3', 'us-east-1'],
        ['bucket.s3.amazonaws.com', ['ap-southeast-7', 's3'], 's3', 'ap-southeast-7'],
        ['bucket.s3.amazonaws.com', ['cn-north-1', 's3'], 's3', 'us-east-1'],
        ['my.bucket.s3.eu-west-1.amazonaws.com', null, 's3', 'eu-west-1'],
        ['bucket.s3.dualstack.eu-west-1.amazonaws.com', null, 's3', 'eu-west-1'],
        ['bucket.s3-fips.dualstack.us-east-1.amazonaws.com', null, 's3', 'us-east-1'],
        ['bucket.s3-us-west-2.amazonaws.com', null, 's3', 'us-west-2'],
        ['bucket.s3-accelerate.amazonaws.com', ['eu-west-1', 's3'], 's3', 'eu-west-1'],
        ['point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com', null, 's3', 'eu-west-1'],
        ['123456789012.s3-control.eu-west-1.amazonaws.com', null, 's3', 'eu-west-1'],
        ['bucket.s3.cn-north-1.amazonaws.com.cn', null, 's3', 'cn-north-1'],
        ['sts.eusc-de-east-1.amazonaws.eu', null, 'sts', 'eusc-de-east-1'],
      ];
      for (const [host, scope, service, region] of rows) {
        await assertSigned({ host, fields: scope === null ? [] : authorizationFor(...scope) }, { service, region });
      }
    },
  );

  test("plan() refuses hosts of AWS's customers, and those that sign otherwise", () => {
    for (const host of [
      'abc.execute-api.us-east-1.amazonaws.com',
      'abc.appsync-api.us-east-1.amazonaws.com',
      'lb-1.us-east-1.elb.amazonaws.com',
      'ec2-1-2-3-4.compute-1.amazonaws.com',
      'search-x.us-east-1.es.amazonaws.com',
      '123456789012.dkr.ecr.us-east-1.amazonaws.com',
      'abc.gr7.us-east-1.eks.amazonaws.com',
      'alias.accesspoint.s3-global.amazonaws.com',
      'bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com',
      'bucket.s3-website-us-east-1.amazonaws.com',
      'bucket.s3-accelerate.amazonaws.com',
      'vpce-1.s3.us-east-1.vpce.amazonaws.com',
      'amazonaws.com',
      'sts.amazonaws.com.example.com',
      'example-amazonaws.com',
      'localhost',
    ]) {
      assert.match(
        refusalOf({ host }),
        new RegExp(`^This request to ${host.replaceAll('.', '\\.')} cannot be signed`),
        host,
      );
    }
  });

  test('plan() refuses in words what cannot be signed again', () => {
    const payload = (text: string): string[] => ['x-amz-content-sha256', text];
    const rows: [Sent, RegExp][] = [
      [{ host: S3, fields: payload('STREAMING-AWS4-HMAC-SHA256-PAYLOAD') }, /turn chunked signing off/],
      [{ host: S3, fields: payload('STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER') }, /turn chunked signing off/],
      [{ fields: payload('STREAMING-AWS4-HMAC-SHA256-EVENTS') }, /turn chunked signing off/],
      [{ fields: payload('STREAMING-UNSIGNED-PAYLOAD-TRAILER') }, /not one that is known/],
      [{ fields: payload('E3B0') }, /not one that is known/],
      [{ fields: [...HASH, ...HASH] }, /more than one x-amz-content-sha256/],
      [{ fields: ['Authorization', 'AWS4-ECDSA-P256-SHA256 Credential=a/20260101/s3/aws4_request'] }, /SigV4a/],
      [{ fields: ['Authorization', 'a', 'authorization', 'b'] }, /more than one Authorization/],
      [{ target: `/?AWSAccessKeyId=${SENTINEL_ID}&Signature=y&Expires=1` }, /Signature Version 2/],
      [{ host: S3, target: '/?AWSAccessKeyId=AKIAFOREIGN000000000&Signature=y&Expires=1' }, /not this sandbox/],
      [{ host: S3, target: `/?AWSAccessKeyId=${SENTINEL_ID}` }, /no signature of Version 2/],
      [{ target: '/%zz' }, /begins no escape/],
      [{ target: '/?a=%ff' }, /not UTF-8/],
      // The library's time grows with their square.
      [{ target: `/?${'a&'.repeat(4097)}` }, /more than 4096 parameters/],
      [{ target: '*', method: 'OPTIONS' }, /no path/],
      [{ method: 'TRACE' }, /TRACE/],
      [{ host: S3, target: '/b/a+b' }, /"\+" in a path/],
      [
        { host: S3, method: 'POST', target: '/b', fields: ['Content-Type', 'multipart/form-data; boundary=x'] },
        /form upload/,
      ],
      [
        {
          host: S3,
          method: 'POST',
          target: '/b',
          fields: ['Authorization', 'Basic x', 'content-type', 'Multipart/Form-Data; boundary=x'],
        },
        /form upload/,
      ],
    ];
    for (const [sent, words] of rows) assert.match(refusalOf(sent), words);
    const clear = { ...requestOf({}), authority: { scheme: 'http', host: 'sts.amazonaws.com', port: 80 } as const };
    const plan = signerOf(KEY).plan(clear);
    assert.ok(plan.kind === 'refused' && plan.detail.includes('over TLS only'));
  });

  test('sign() refuses fields that can be read in two ways', async () => {
    for (const fields of [
      ['x-amz-meta-name', 'caf\xe9'],
      ['Content-Type', 'a/b', 'content-type', 'c/d'],
    ]) {
      const result = await signerOf(KEY).sign({
        ...requestOf({ host: S3, fields: [...HASH, ...fields] }),
        bodySha256: null,
        nowMs: NOW_MS,
      });
      assert.equal(result.verdict, 'refused');
    }
  });

  test('sign() signs a presigned URL again when it carries the sentinel, and refuses any other', verified, async () => {
    const presigned = (id: string, more = '', expires = '900'): string =>
      `/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${id}%2F20260101%2Feu-west-1%2Fs3%2Faws4_request` +
      `&X-Amz-Date=20260101T000000Z&X-Amz-Expires=${expires}&X-Amz-SignedHeaders=host&x-id=GetObject${more}&X-Amz-Signature=${'0'.repeat(64)}`;
    for (const key of [KEY, TEMPORARY]) {
      for (const more of [
        '',
        '&X-Amz-Security-Token=foreign',
        '&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD',
        '&x-amz-acl=public-read&a=%20',
      ]) {
        const { head } = await assertSigned(
          { host: S3, target: presigned(SENTINEL_ID, more), key },
          { service: 's3', region: 'eu-west-1', payload: 'UNSIGNED-PAYLOAD' },
        );
        assert.ok(!head.target.includes('foreign') && !head.target.includes(SENTINEL_ID));
        assert.ok(head.target.includes('X-Amz-Expires=900'));
      }
    }
    assert.match(refusalOf({ host: S3, target: presigned('AKIAFOREIGN000000000') }), /not this sandbox/);
    assert.match(
      refusalOf({ host: S3, target: presigned(SENTINEL_ID), fields: authorizationFor('eu-west-1', 's3') }),
      /signed twice/,
    );
    assert.match(refusalOf({ host: S3, target: presigned(SENTINEL_ID, '&X-Amz-Expires=5') }), /more than once/);
    assert.match(refusalOf({ host: S3, target: presigned(SENTINEL_ID, '', '604801') }), /between 1 and 604800/);
    assert.match(refusalOf({ host: S3, target: presigned(SENTINEL_ID).replace('HMAC', 'ECDSA') }), /another algorithm/);
  });

  test('sign() goes by the query of a presigned URL for its body, not by a field', verified, async () => {
    const credential = `${SENTINEL_ID}/20260101/us-east-1/sts/aws4_request`;
    const target = `/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${credential}&X-Amz-Expires=60&X-Amz-Signature=0`;
    const fields = ['x-amz-content-sha256', 'UNSIGNED-PAYLOAD'];
    const hash = createHash('sha256').update('content').digest('hex');
    await assertSigned({ target, fields, body: 'content' }, { service: 'sts', region: 'us-east-1', payload: hash });
  });

  test('sign() gives a URL that was presigned by Version 2 a signature of Version 4', verified, async () => {
    const target = (expires: number): string =>
      `/bucket/key?AWSAccessKeyId=${SENTINEL_ID}&Signature=abc%3D&Expires=${expires}&versionId=1&x-amz-security-token=foreign`;
    const { head } = await assertSigned(
      { host: S3, target: target(NOW_MS / 1000 + 60) },
      { service: 's3', region: 'eu-west-1', payload: 'UNSIGNED-PAYLOAD' },
    );
    assert.match(head.target, /^\/bucket\/key\?versionId=1&/);
    assert.match(head.target, /X-Amz-Expires=60/);
    assert.ok(!head.target.includes('abc') && !head.target.includes('foreign'));
    const request = requestOf({ host: S3, target: target(NOW_MS / 1000) });
    const result = await signerOf(KEY).sign({ ...request, bodySha256: null, nowMs: NOW_MS });
    assert.ok(result.verdict === 'refused' && result.detail.includes('expired'));
  });

  test('sign() holds before independent code for any path, query, fields and body', verified, async () => {
    const octet = fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code));
    const escape = fc.integer({ min: 0, max: 255 }).map((code) => `%${code.toString(16).padStart(2, '0')}`);
    const spelled = fc.constantFrom(
      '/',
      '//',
      '.',
      '..',
      '/./',
      '/../',
      '%2F',
      '%2f',
      '%2E',
      '%7e',
      '%41',
      '%20',
      '%C3%A9',
      '%252F',
      '!',
      "'",
      '(',
      ')',
      '*',
      '~',
      ':',
      '@',
      '=',
      ';',
      ',',
      '$',
    );
    const piece = fc.oneof(octet, escape, spelled).filter((text) => !['?', '#', '%', '\\'].includes(text));
    const path = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`);
    const text = fc.string({ unit: 'grapheme', maxLength: 6 }).filter((candidate) => candidate.isWellFormed());
    const parameter = fc
      .tuple(
        fc.oneof(text, fc.constantFrom('a', 'a-b', 'A', 'prefix', 'list-type', 'uploads')),
        fc.option(text),
        fc.boolean(),
      )
      .filter(([name]) => name !== '__proto__')
      .map(([name, value, isStrict]) => {
        const encode = (raw: string): string =>
          isStrict ? encodeURIComponent(raw) : encodeURIComponent(raw).replaceAll('%20', '+').toLowerCase();
        return value === null ? encode(name) : `${encode(name)}=${encode(value)}`;
      });
    const printable = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
      maxLength: 20,
    });
    const field = fc.tuple(
      fc.constantFrom(
        'x-amz-meta-a',
        'X-Amz-Meta-A',
        'x-amz-meta-b',
        'x-amz-acl',
        'X-AMZ-Target',
        'Accept',
        'If-Match',
        'User-Agent',
      ),
      printable.map((value) => value.trim()),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'PUT', 'POST', 'DELETE', 'HEAD', 'PATCH'),
        fc.constantFrom(S3, 'bucket.s3.eu-west-1.amazonaws.com', 'bedrock-runtime.eu-west-1.amazonaws.com'),
        path,
        fc.array(parameter, { maxLength: 5 }),
        fc.array(field, { maxLength: 6 }),
        fc.string({ maxLength: 40 }),
        fc.constantFrom(KEY, TEMPORARY),
        fc.constantFrom('none', 'hash', 'unsigned', 'query'),
        async (method, host, rawPath, query, pairs, body, key, mode) => {
          const isS3 = host !== 'bedrock-runtime.eu-west-1.amazonaws.com';
          const target = `${isS3 ? rawPath.replaceAll('+', '%2B') : rawPath}${query.length > 0 ? `?${query.join('&')}` : ''}`;
          const bytes = Buffer.from(body, 'latin1');
          const declared = mode === 'hash' ? createHash('sha256').update(bytes).digest('hex') : 'UNSIGNED-PAYLOAD';
          const fields = [
            ...pairs.flat(),
            ...(mode === 'hash' || mode === 'unsigned' ? ['X-Amz-Content-Sha256', declared] : []),
          ];
          const presigned =
            mode === 'query'
              ? `${target.includes('?') ? '&' : '?'}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${SENTINEL_ID}/20260101/eu-west-1/s3/aws4_request&X-Amz-Expires=60&X-Amz-Signature=0`
              : '';
          await assertSigned(
            { host, method, target: `${target}${presigned}`, fields, body: bytes.toString('latin1'), key },
            { service: isS3 ? 's3' : 'bedrock', region: 'eu-west-1' },
          );
        },
      ),
      { numRuns: 400 },
    );
  });

  test('sign() is refused by the verifier when anything signed changes, or the sentinel signs', verified, async () => {
    const { head, headers } = await signAndVerify({
      host: S3,
      method: 'PUT',
      target: '/b/k?x=1',
      body: 'content',
      fields: ['x-amz-acl', 'private'],
    });
    const body = Buffer.from('content');
    const original = { method: 'PUT', target: head.target, headers, body };
    assert.equal((await verifier.verify(original, NOW_MS)).ok, true);
    for (const changed of [
      { ...original, method: 'POST' },
      { ...original, target: '/b/k2?x=1' },
      { ...original, target: '/b/k?x=2' },
      { ...original, body: Buffer.from('other') },
      {
        ...original,
        headers: headers.map(([name, value]): [string, string] =>
          name === 'x-amz-acl' ? [name, 'public'] : [name, value],
        ),
      },
      {
        ...original,
        headers: headers.map(([name, value]): [string, string] =>
          name === 'Host' ? [name, 'sts.amazonaws.com'] : [name, value],
        ),
      },
    ]) {
      assert.equal((await verifier.verify(changed, NOW_MS)).ok, false);
    }
    assert.equal((await verifier.verify(original, NOW_MS + 3_600_000)).ok, false);
    const sentinel = signerOf({ id: SENTINEL_ID, secret: SENTINEL_SECRET, token: null });
    const forged = await sentinel.sign({ ...requestOf({}), bodySha256: EMPTY, nowMs: NOW_MS });
    assert.ok(forged.verdict === 'signed');
    const pairs = forged.head.fields.flatMap((text, index, all): [string, string][] =>
      index % 2 === 0 ? [[text, all[index + 1]!]] : [],
    );
    assert.deepEqual(await verifier.verify({ ...forged.head, headers: pairs, body: Buffer.alloc(0) }, NOW_MS), {
      ok: false,
      reason: 'an unknown access key',
    });
  });
});
