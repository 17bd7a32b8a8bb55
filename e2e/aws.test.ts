import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { installAwsClients } from './aws/set-up.ts';
import { BUCKET, REGION, startAwsStandIn } from './aws/stand-in.ts';
import type { AwsStandIn } from './aws/stand-in.ts';
import { createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import type { Canary } from './harness/canary.ts';
import { createDaemonScene } from './harness/daemon.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportResult } from './harness/sallyport.ts';
import { whyNoVerifier } from './harness/sigv4-verifier.ts';

const KEY_ID = 'AKIAREAL000000000001';
const SENTINEL_ID = /^AKIA[A-Z2-7]{16}$/;
const STREAMED = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
const TIMEOUT_MS = 120_000;

/** Keys that every encoding step of a path is tempted to change. */
const OBJECT_KEYS = [
  'plain',
  'a b+c',
  'ü/é 漢',
  'x//y',
  '%2F',
  'q?x=1&y#z',
  "~(tilde)!*'",
  './dot/../z',
  'a:b@c=d,e;f$g',
];

const { sdk, commandLine } = installAwsClients();
const noVerifier = whyNoVerifier();

interface Keys {
  readonly secret: Canary;
  /** Null for keys that last. */
  readonly token: Canary | null;
}

function standInFor({ secret, token }: Keys): Promise<AwsStandIn> {
  return startAwsStandIn({ [KEY_ID]: { secret: secret.value, token: token?.value ?? null } });
}

function environmentOf({ secret, token }: Keys): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: KEY_ID,
    AWS_SECRET_ACCESS_KEY: secret.value,
    ...(token === null ? {} : { AWS_SESSION_TOKEN: token.value }),
  };
}

/** Options of `run` that give a sandbox the service, and a region to ask. */
function optionsFor(aws: AwsStandIn): string[] {
  return [
    ...aws.upstream.flags(),
    '--service',
    'aws',
    '-e',
    `AWS_REGION=${REGION}`,
    '-e',
    `AWS_DEFAULT_REGION=${REGION}`,
  ];
}

/** Every request was signed with the host's keys, and no run showed them. */
function assertSigned(aws: AwsStandIn, result: SallyportResult, scene: Scene, { secret, token }: Keys): void {
  assert.equal(result.status, 0, `${describeRun(result)}\n${refusalsOf(aws).join('\n')}`);
  assert.deepEqual(refusalsOf(aws), []);
  for (const canary of [secret, token, { value: KEY_ID }]) {
    if (canary !== null) assertRunKeptSecret(canary, result, scene);
  }
}

function refusalsOf({ requests }: AwsStandIn): string[] {
  return requests.flatMap(({ recorded, host, verdict }) =>
    verdict.ok ? [] : [`${recorded.method} ${host}${recorded.target}: ${verdict.reason}`],
  );
}

function payloadsOf({ requests }: AwsStandIn): string[] {
  return requests.flatMap(({ verdict }) => (verdict.ok ? [verdict.payload] : []));
}

/** What `aws-sdk.mjs` prints. */
interface SdkFindings {
  readonly identity: { readonly Arn: string; readonly UserId: string };
  readonly objects: Readonly<Record<string, readonly [number, string]>>;
  readonly [name: string]: unknown;
}

function assertSdkFindings(stdout: string, aws: AwsStandIn): SdkFindings {
  const found = JSON.parse(stdout) as SdkFindings;
  const { identity, objects, streamed, parts, ...rest } = found;
  assert.equal(identity.Arn, 'arn:aws:iam::123456789012:user/host');
  assert.deepEqual(rest, {
    converse: 'hello',
    stream: 'one two three',
    invoke: 'hello',
    listed: ['plain'],
    presignedPut: 200,
    presignedGet: 'by URL',
  });
  for (const key of OBJECT_KEYS) {
    const content = `content of ${key}`;
    assert.deepEqual(objects[key], [Buffer.byteLength(content), content]);
    if (key !== OBJECT_KEYS[0]) assert.equal(aws.objects.get(key)?.toString(), content, key);
  }
  const digest = (key: string): string =>
    createHash('sha256')
      .update(aws.objects.get(key) ?? '')
      .digest('hex');
  assert.deepEqual([digest('streamed'), digest('in parts')], [streamed, parts]);
  return found;
}

const quoteWord = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;
const sdkArguments = [BUCKET, ...OBJECT_KEYS].map(quoteWord).join(' ');

/** What people do with the AWS command line, each part behind a line `@@NAME`. `curl` fetches what was presigned. */
function commandLineScript(aws: string): string {
  return `
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
aws() { ${aws} "$@"; }
work=$(mktemp -d)
echo @@identity; aws sts get-caller-identity --query Arn --output text
echo @@converse; aws bedrock-runtime converse --model-id vendor.model-v1:0 --messages '[{"role":"user","content":[{"text":"hi"}]}]' --query 'output.message.content[0].text' --output text
printf content > "$work/file"
head -c 20000000 /dev/zero > "$work/big"
aws s3 cp --quiet "$work/file" "s3://${BUCKET}/a b+c/ü//x"
echo @@read; aws s3 cp --quiet "s3://${BUCKET}/a b+c/ü//x" -; echo
aws s3 cp --quiet "$work/big" s3://${BUCKET}/big
echo piped | aws s3 cp --quiet - s3://${BUCKET}/piped
aws s3api put-object --bucket ${BUCKET} --key tagged --body "$work/file" --metadata 'note=a   b' --tagging 'k=a%20b' > "$work/answer"
echo @@list; aws s3 ls s3://${BUCKET}/ --recursive | sed 's/  */ /g' | cut -d' ' -f3-
echo @@version2; curl -sS "$(aws s3 presign s3://${BUCKET}/piped)"
echo @@version4; curl -sS "$(AWS_DEFAULT_REGION=eu-central-1 aws s3 presign s3://${BUCKET}/piped | sed s/eu-central-1/${REGION}/g)"
aws s3 rm --quiet s3://${BUCKET}/big
`;
}

function assertCommandLineOutput(stdout: string, aws: AwsStandIn, isInside: boolean): void {
  const sections = Object.fromEntries(
    stdout
      .split(/^@@/m)
      .slice(1)
      .map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1).trimEnd()]),
  );
  const { version2, version4, ...rest } = sections;
  assert.deepEqual(rest, {
    identity: 'arn:aws:iam::123456789012:user/host',
    converse: 'hello',
    read: 'content',
    list: '7 a b+c/ü//x\n20000000 big\n6 piped\n7 tagged',
  });
  if (isInside) assert.deepEqual([version2, version4], ['piped', 'piped']);
  assert.equal(aws.objects.get('a b+c/ü//x')?.toString(), 'content');
}

// Without a gate: what the verifier takes is what AWS's own clients send.
for (const kind of ['SDK', 'command line'] as const) {
  test(`the verifier accepts what AWS's ${kind} signs`, { timeout: TIMEOUT_MS }, async (t) => {
    const client = kind === 'SDK' ? sdk : commandLine;
    const reason = noVerifier ?? client.skip;
    if (reason !== undefined) {
      t.skip(reason);
      return;
    }
    const keys = { secret: newCanary(), token: kind === 'SDK' ? newCanary() : null };
    await using aws = await standInFor(keys);
    const { httpsPort, caFile } = aws.upstream;
    const script =
      kind === 'SDK'
        ? `${client.outside} ${sdkArguments}`
        : commandLineScript(client.outside).replaceAll(/^echo @@version.*$/gm, '');
    const { stdout } = await promisify(execFile)('sh', ['-c', script], {
      env: {
        PATH: '/usr/bin:/bin',
        HOME: '/nonexistent',
        AWS_REGION: REGION,
        AWS_DEFAULT_REGION: REGION,
        AWS_ENDPOINT_URL: `https://localhost:${httpsPort}`,
        NODE_EXTRA_CA_CERTS: caFile,
        AWS_CA_BUNDLE: caFile,
        ...environmentOf(keys),
      },
      maxBuffer: 16 * 1024 * 1024,
    });
    assert.deepEqual(refusalsOf(aws), []);
    if (kind === 'SDK') assert.equal(assertSdkFindings(stdout, aws).identity.UserId, KEY_ID);
    else assertCommandLineOutput(stdout, aws, false);
    assert.ok(payloadsOf(aws).includes(STREAMED));
  });
}

test("AWS's SDK works with sentinels alone: STS, Bedrock, S3", { timeout: TIMEOUT_MS }, async (t) => {
  const reason = noVerifier ?? sdk.skip;
  if (reason !== undefined) {
    t.skip(reason);
    return;
  }
  const keys = { secret: newCanary(), token: newCanary() };
  using scene = createScene(findPresentCaller());
  await using aws = await standInFor(keys);
  const script = `${sdk.inside} ${sdkArguments} > found || exit; env | grep ^AWS_ | sort; echo @@; cat found`;
  const result = await sallyport(['run', ...optionsFor(aws), ...sdk.options, '--', 'sh', '-c', script], {
    scene,
    env: environmentOf(keys),
    canary: keys.secret,
    timeoutMs: TIMEOUT_MS,
  });
  assertSigned(aws, result, scene, keys);
  const [environment = '', found = ''] = result.stdout.split('@@\n');
  assert.match(/^AWS_ACCESS_KEY_ID=(.*)$/m.exec(environment)?.[1] ?? '', SENTINEL_ID);
  assert.match(environment, /^AWS_SECRET_ACCESS_KEY=sallyport/m);
  assert.match(environment, /^AWS_SESSION_TOKEN=/m);
  // The identifier that STS names comes back as the one that the sandbox knows.
  const { identity } = assertSdkFindings(found, aws);
  assert.equal(identity.UserId, /^AWS_ACCESS_KEY_ID=(.*)$/m.exec(environment)?.[1]);
  assert.ok(payloadsOf(aws).includes(STREAMED));
  assert.ok(aws.requests.some(({ recorded }) => recorded.httpVersion === '2'));
});

test(
  'the AWS command line works with sentinels alone, by a profile of the host',
  { timeout: TIMEOUT_MS },
  async (t) => {
    const reason = noVerifier ?? commandLine.skip;
    if (reason !== undefined) {
      t.skip(reason);
      return;
    }
    const keys = { secret: newCanary(), token: null };
    using scene = createScene(findPresentCaller());
    mkdirSync(join(scene.home, '.aws'));
    writeFileSync(
      join(scene.home, '.aws', 'config'),
      `[profile work]\naws_access_key_id = ${KEY_ID}\naws_secret_access_key = ${keys.secret.value}\n`,
    );
    await using aws = await standInFor(keys);
    const script = commandLineScript(commandLine.inside);
    const result = await sallyport(['run', ...optionsFor(aws), ...commandLine.options, '--', 'sh', '-c', script], {
      scene,
      env: { AWS_PROFILE: 'work' },
      canary: keys.secret,
      timeoutMs: TIMEOUT_MS,
    });
    // The profile is the host's own file, and the only place where the keys are.
    writeFileSync(join(scene.home, '.aws', 'config'), '');
    assertSigned(aws, result, scene, keys);
    assertCommandLineOutput(result.stdout, aws, true);
    assert.ok(payloadsOf(aws).includes(STREAMED));
  },
);

eachCaller(
  'requests of any client are signed, or refused in words',
  async (caller) => {
    const keys = { secret: newCanary(), token: newCanary() };
    using scene = createScene(caller);
    await using aws = await standInFor(keys);
    const bucket = `https://${BUCKET}.s3.${REGION}.amazonaws.com`;
    const presigned = (id: string): string =>
      `${bucket}/one?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${id}/20260101/${REGION}/s3/aws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00`;
    const curls: readonly [name: string, words: string, status: number][] = [
      ['unsigned put', `--http1.1 -T small ${bucket}/one`, 200],
      ['unsigned put of a file', `--http1.1 -T big ${bucket}/two`, 200],
      ['unsigned put over HTTP/2', `--http2 -T big ${bucket}/three`, 200],
      ['100-continue', `--http1.1 -H 'Expect: 100-continue' -T big ${bucket}/four`, 200],
      ['chunked', `--http1.1 -H 'Transfer-Encoding: chunked' -T small ${bucket}/five`, 200],
      ['declared', `-T small -H "x-amz-content-sha256: $(sha256sum < small | cut -c1-64)" ${bucket}/six`, 200],
      ['declared wrongly', `-T small -H "x-amz-content-sha256: $(sha256sum < big | cut -c1-64)" ${bucket}/never`, 403],
      ['unsigned payload', `-T small -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' ${bucket}/seven`, 200],
      ['foreign key', `--aws-sigv4 aws:amz:${REGION}:s3 --user AKIAFOREIGN:foreign ${bucket}/one`, 200],
      ['foreign token', `-H 'x-amz-security-token: foreign' -H 'Authorization: AWS AKIAFOREIGN:x' ${bucket}/one`, 200],
      ['own URL', `"${presigned('$AWS_ACCESS_KEY_ID')}"`, 200],
      ['foreign URL', `"${presigned('AKIAFOREIGN000000000')}"`, 403],
      ['signed chunks', `-T small -H 'x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD' ${bucket}/never`, 403],
      ['SigV4a', `-H 'Authorization: AWS4-ECDSA-P256-SHA256 Credential=a/b/s3/aws4_request' ${bucket}/one`, 403],
      ['a customer', `https://abc.execute-api.${REGION}.amazonaws.com/`, 403],
      ['too long', `--http1.1 -T long ${bucket}/never`, 413],
    ];
    const script = [
      'printf small > small; head -c 3000000 /dev/zero > big; truncate -s 300M long',
      ...curls.map(
        ([name, words]) =>
          `curl -sS -o answer -w '%{http_code} ${name}\\n' ${words}; cat answer >> answers; rm -f answer`,
      ),
      'cat answers >&2',
    ];
    const result = await sallyport(
      ['run', ...optionsFor(aws), '--allow', '**.amazonaws.com', '--', 'sh', '-c', script.join('\n')],
      { scene, env: environmentOf(keys), canary: keys.secret, timeoutMs: TIMEOUT_MS },
    );
    assert.equal(
      result.stdout.trim(),
      curls.map(([name, , status]) => `${status} ${name}`).join('\n'),
      describeRun(result),
    );
    // All but one were signed; that one is the client's own lie about its body.
    assert.equal(refusalsOf(aws).length, 1);
    assert.match(refusalsOf(aws)[0] ?? '', /never: another body than was signed/);
    assert.ok(!JSON.stringify(aws.requests.map(({ recorded }) => recorded)).includes('oreign'));
    for (const key of ['two', 'three', 'four']) assert.equal(aws.objects.get(key)?.length, 3_000_000, key);
    for (const words of [/not this sandbox's own/, /turn chunked signing off/, /SigV4a/, /AWS's own services/]) {
      assert.match(result.stderr, words);
    }
    assert.equal(result.stderr.match(/SIGNATURE_REFUSED/g)?.length, 5);
    for (const canary of [keys.secret, keys.token, { value: KEY_ID }]) assertRunKeptSecret(canary, result, scene);
  },
  { skip: noVerifier },
);

test(
  'keys that a command of the host prints are asked for anew under a sandbox that runs',
  { timeout: TIMEOUT_MS, skip: noVerifier ?? false },
  async () => {
    const [first, second] = [newCanary(), newCanary()];
    const secondId = 'ASIAREAL000000000002';
    await using scene = await createDaemonScene(findPresentCaller());
    await using aws = await startAwsStandIn({
      [KEY_ID]: { secret: first.value, token: null },
      [secondId]: { secret: second.value, token: 'second+token==' },
    });
    const file = join(scene.root, 'keys.json');
    const give = (keys: Readonly<Record<string, string>>): void =>
      writeFileSync(file, JSON.stringify({ Version: 1, ...keys }), { mode: 0o644 });
    const succeed = async (...args: string[]): Promise<string> => {
      const result = await scene.cli(args);
      assert.equal(result.status, 0, describeRun(result));
      for (const canary of [first, second])
        assertNoCanary(canary, { outputs: { out: result.stdout, err: result.stderr } });
      return result.stdout;
    };
    const ask = async (): Promise<string> =>
      await succeed(
        'exec',
        'worker',
        '--',
        'curl',
        '-sS',
        '-m',
        '20',
        `https://sts.${REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15`,
      );

    give({ AccessKeyId: KEY_ID, SecretAccessKey: first.value });
    await succeed('secret', 'set', '-g', 'aws', '--command', `cat ${file}`, '--refresh', '1s');
    await succeed('create', '--name', 'worker', '--no-workspace', ...aws.upstream.flags());
    const sentinel = /<UserId>(AKIA[A-Z2-7]{16})</.exec(await ask())?.[1];
    give({ AccessKeyId: secondId, SecretAccessKey: second.value, SessionToken: 'second+token==' });
    await setTimeout(1100);
    assert.equal(/<UserId>(AKIA[A-Z2-7]{16})</.exec(await ask())?.[1], sentinel);
    assert.deepEqual(
      aws.requests.map(({ verdict }) => (verdict.ok ? verdict.id : verdict.reason)),
      [KEY_ID, secondId],
    );
  },
);
