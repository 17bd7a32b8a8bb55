import assert from 'node:assert/strict';
import { BUCKET, REGION, startAwsStandIn } from '../aws/stand-in.ts';
import type { JudgedRequest } from '../aws/stand-in.ts';
import { newCanary } from '../harness/canary.ts';
import { headerValues } from '../harness/recording.ts';
import { whyNotInside } from '../harness/tools.ts';
import { createFamily } from './attack.ts';
import type { Job } from './attempts.ts';
import { readStatuses, runJobs } from './jobs.ts';

const family = createFamily(
  'aws',
  'What a program can do about the signatures that the host makes for it: have its own account’s signature leave, a signature made for something else than it asks, or the session token go to a host that somebody else runs.',
);

const KEY_ID = 'ASIAREAL000000000001';
const BUCKET_HOST = `${BUCKET}.s3.${REGION}.amazonaws.com`;
const STS = `sts.${REGION}.amazonaws.com`;
/** Hosts that AWS's customers run, or that are none of AWS's. */
const CUSTOMERS = [
  `abc123.execute-api.${REGION}.amazonaws.com`,
  `attacker-1.${REGION}.elb.amazonaws.com`,
  'ec2-198-51-100-1.compute-1.amazonaws.com',
  `s3.${REGION}.elb.amazonaws.com`,
  `abc123.appsync-api.${REGION}.amazonaws.com`,
  `search-x.${REGION}.es.amazonaws.com`,
];

/** The key of whoever wrote the program. */
const OWN_ID = 'AKIAATTACKER00000001';
const OWN_TOKEN = 'attackers-session-token';
const ZEROS = '0'.repeat(64);

function authorization(id: string, scope = `${REGION}/s3`): string {
  return `Authorization: AWS4-HMAC-SHA256 Credential=${id}/20260101/${scope}/aws4_request, SignedHeaders=host;x-amz-date, Signature=${ZEROS}`;
}

function presigned(id: string, more = ''): string {
  return `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${id}/20260101/${REGION}/s3/aws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host${more}&X-Amz-Signature=${ZEROS}`;
}

interface Attempt extends Job {
  /** Whether a request may arrive, signed by the host. */
  readonly arrives: boolean;
}

function slugOf(name: string): string {
  return name.replaceAll(/[^a-z0-9]+/gi, '-');
}

/** A request of this program, whose lines are the attempt. */
function attempt(
  name: string,
  lines: readonly string[],
  more: { target?: string; method?: string; body?: string; host?: string; named?: string; arrives?: boolean } = {},
): Attempt {
  const { method = 'GET', body = '', host = BUCKET_HOST, named = host, arrives = true } = more;
  const slug = slugOf(name);
  const target = more.target ?? `/${slug}`;
  const head = [
    `${method} ${target} HTTP/1.1`,
    `Host: ${named}`,
    'Connection: close',
    `X-Attempt: ${slug}`,
    ...lines,
  ].join('\r\n');
  return { name, host, port: 443, send: [`${head}\r\n\r\n${body}`], arrives };
}

const REFUSED = { arrives: false };

const OTHER_KEYS: readonly Attempt[] = [
  attempt('the signature of another account', [authorization(OWN_ID), 'X-Amz-Date: 20260101T000000Z']),
  attempt('a signature of Version 2', [`Authorization: AWS ${OWN_ID}:c2lnbmF0dXJl`, 'Date: Thu, 01 Jan 2026 00:00:00 GMT']),
  attempt('two signatures', [authorization('{AWS_ACCESS_KEY_ID}'), authorization(OWN_ID)], REFUSED),
  attempt('a bearer token', [`Authorization: Bearer ${OWN_ID}`]),
  attempt('a session token', [`X-Amz-Security-Token: ${OWN_TOKEN}`, authorization('{AWS_ACCESS_KEY_ID}')]),
  attempt('a session token, with underscores', [`X_Amz_Security_Token: ${OWN_TOKEN}`]),
  attempt('a session token in the query', [], { target: `/token-query?X-Amz-Security-Token=${OWN_TOKEN}` }),
  attempt('a session token in the query, escaped', [], { target: `/token-escaped?%58-amz-security-token=${OWN_TOKEN}` }),
  attempt('a token of S3 Express', [`x-amz-s3session-token: ${OWN_TOKEN}`]),
  attempt('a token of the identity center', [`x-amz-sso_bearer_token: ${OWN_TOKEN}`]),
  attempt('a URL presigned by another account', [], { target: `/presigned?${presigned(OWN_ID)}`, ...REFUSED }),
  attempt('a URL presigned by another account, in other letters', [], { target: `/letters?${presigned(OWN_ID).toLowerCase()}`, ...REFUSED }),
  attempt('a URL presigned by another account, escaped', [], { target: `/escaped?${presigned(OWN_ID).replaceAll('X-', '%58-')}`, ...REFUSED }),
  attempt('a URL presigned by Version 2', [], { target: `/version2?AWSAccessKeyId=${OWN_ID}&Signature=x&Expires=9999999999`, ...REFUSED }),
  attempt('a URL presigned twice', [], { target: `/twice?${presigned('{AWS_ACCESS_KEY_ID}')}&X-Amz-Credential=${OWN_ID}`, ...REFUSED }),
  attempt('a URL presigned here, with a token', [], { target: `/own?${presigned('{AWS_ACCESS_KEY_ID}', `&X-Amz-Security-Token=${OWN_TOKEN}`)}` }),
  attempt('a presigned URL with a field', [authorization(OWN_ID)], { target: `/both?${presigned('{AWS_ACCESS_KEY_ID}')}`, ...REFUSED }),
  attempt('a form upload', ['Content-Type: multipart/form-data; boundary=x', 'Content-Length: 0'], { method: 'POST', ...REFUSED }),
  attempt('chunks signed by another account', ['x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'Content-Length: 0'], { method: 'PUT', ...REFUSED }),
  attempt('TRACE', [authorization(OWN_ID)], { method: 'TRACE', ...REFUSED }),
]; // prettier-ignore

/** Its body is not what it says, which AWS finds out. */
const LIE = 'another hash than the body’s';

const OTHER_MEANINGS: readonly Attempt[] = [
  attempt('a scope of another service', [authorization('{AWS_ACCESS_KEY_ID}', `${REGION}/sts`)]),
  attempt('a scope of another region', [authorization('{AWS_ACCESS_KEY_ID}', 'us-west-2/s3')]),
  attempt('a scope with line breaks in escapes', [authorization('{AWS_ACCESS_KEY_ID}', 'us%0A/s3')]),
  attempt('a date of its own', ['X-Amz-Date: 20300101T000000Z', 'x-amz-date: 20300101T000000Z']),
  attempt('fields of the signature that Connection names', ['Connection: authorization, x-amz-date, x-amz-content-sha256, x-amz-security-token']),
  attempt('another host in the field', [], { named: STS, ...REFUSED }),
  attempt('a path that leaves the bucket', [], { target: '/%2e%2e/%2E%2E/dots/..//x' }),
  attempt('a path in two spellings', [], { target: '/spelled/%41%7e%2f%2F(a)*?b=%2f&a=%7E&=&&c' }),
  attempt(LIE, [`x-amz-content-sha256: ${ZEROS}`, 'Content-Length: 4'], { method: 'PUT', body: 'body' }),
]; // prettier-ignore

family.attacks(
  'what leaves for AWS is signed by the host, for what it asks',
  async (caller, judge) => {
    const [secret, token] = [newCanary(), newCanary()];
    await using aws = await startAwsStandIn({ [KEY_ID]: { secret: secret.value, token: token.value } }, CUSTOMERS);
    const customers = CUSTOMERS.map((host) => attempt(`a host of somebody else: ${host}`, [authorization('{AWS_ACCESS_KEY_ID}')], { host, ...REFUSED })); // prettier-ignore
    const control = attempt('control', []);
    const { answers } = await runJobs(caller, [control, ...OTHER_KEYS, ...OTHER_MEANINGS, ...customers], {
      flags: [...aws.upstream.flags(), '--service', 'aws'],
      env: { AWS_ACCESS_KEY_ID: KEY_ID, AWS_SECRET_ACCESS_KEY: secret.value, AWS_SESSION_TOKEN: token.value },
      canaries: [secret, token],
    });
    const arrivals = (one: Attempt): JudgedRequest[] =>
      aws.requests.filter(({ recorded }) => headerValues(recorded, 'x-attempt').includes(slugOf(one.name)));
    const wire = aws.upstream.connections.map((connection) => connection.received().toString('latin1')).join('\n');
    assert.ok(arrivals(control)[0]?.verdict.ok === true, 'the positive control');

    const judgeArrival = (one: Attempt): void => {
      const statuses = readStatuses(answers.get(one.name)?.received ?? '');
      if (!one.arrives) {
        assert.deepEqual(arrivals(one), []);
        assert.ok(
          statuses.every((status) => status >= 400 && status < 500),
          String(statuses),
        );
        return;
      }
      const [arrival] = arrivals(one);
      assert.ok(arrival !== undefined, 'it did not arrive');
      const { verdict, host } = arrival;
      assert.equal(host, one.host);
      if (one.name === LIE) assert.deepEqual(verdict, { ok: false, reason: 'another body than was signed' });
      else assert.ok(verdict.ok && verdict.id === KEY_ID, verdict.ok ? verdict.id : verdict.reason);
    };
    for (const one of OTHER_KEYS) {
      await judge({ name: `AWS: ${one.name}`, leaks: 'what the program sends, to the account of another key' }, () => {
        judgeArrival(one);
        assert.ok(!wire.includes(OWN_ID) && !wire.includes(OWN_TOKEN), 'the other key arrived');
      });
    }
    for (const one of OTHER_MEANINGS) {
      await judge({ name: `AWS: ${one.name}`, leaks: 'a signature for another request than the one that leaves' }, () =>
        judgeArrival(one),
      );
    }
    for (const one of customers) {
      await judge({ name: `AWS: ${one.name}`, leaks: 'the session token, to whoever runs that host' }, () => {
        judgeArrival(one);
        assert.ok(!wire.includes(one.host ?? ''));
      });
    }
  },
  { skip: whyNotInside('python3'), callers: 'one' },
);
