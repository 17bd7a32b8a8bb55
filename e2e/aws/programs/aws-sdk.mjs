// Calls STS, Bedrock and S3 with AWS's SDK for JavaScript and whatever credentials the environment has; prints what came as JSON.
import { createHash } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
} from '@aws-sdk/client-bedrock-runtime';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

const [Bucket, ...keys] = process.argv.slice(2);
const found = {};

const sts = new STSClient({});
const { Arn, UserId } = await sts.send(new GetCallerIdentityCommand({}));
found.identity = { Arn, UserId };

const bedrock = new BedrockRuntimeClient({});
const modelId = 'vendor.model-v1:0';
const messages = [{ role: 'user', content: [{ text: 'Grüße' }] }];
const { output } = await bedrock.send(new ConverseCommand({ modelId, messages }));
found.converse = output.message.content[0].text;
const { stream } = await bedrock.send(new ConverseStreamCommand({ modelId, messages }));
found.stream = '';
for await (const event of stream) found.stream += event.contentBlockDelta?.delta?.text ?? '';
const { body } = await bedrock.send(new InvokeModelCommand({ modelId, body: '{"prompt":"x"}' }));
found.invoke = JSON.parse(new TextDecoder().decode(body)).completion;

const s3 = new S3Client({ forcePathStyle: process.env.AWS_ENDPOINT_URL !== undefined });
const digest = (data) => createHash('sha256').update(data).digest('hex');
found.objects = {};
for (const Key of keys) {
  await s3.send(
    new PutObjectCommand({
      Bucket,
      Key,
      Body: `content of ${Key}`,
      Metadata: { note: 'a   b' },
      ContentType: 'text/plain',
    }),
  );
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
  const object = await s3.send(new GetObjectCommand({ Bucket, Key }));
  found.objects[Key] = [head.ContentLength, await object.Body.transformToString()];
}
const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: keys[0].slice(0, 3) }));
found.listed = Contents.map(({ Key }) => Key);

// A stream cannot be hashed first: its parts go with a checksum in a trailer.
const file = join(tmpdir(), 'upload');
const data = Buffer.alloc(3 * 1024 * 1024, 'streamed ');
writeFileSync(file, data);
await s3.send(
  new PutObjectCommand({ Bucket, Key: 'streamed', Body: createReadStream(file), ContentLength: data.length }),
);
await new Upload({
  client: s3,
  params: { Bucket, Key: 'in parts', Body: Readable.from([data, data, data]) },
}).done();
found.streamed = digest(data);
found.parts = digest(Buffer.concat([data, data, data]));

const presignedPut = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'pre signed' }), { expiresIn: 60 });
found.presignedPut = (await fetch(presignedPut, { method: 'PUT', body: 'by URL' })).status;
const presignedGet = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'pre signed' }), { expiresIn: 60 });
found.presignedGet = await (await fetch(presignedGet)).text();
await s3.send(new DeleteObjectCommand({ Bucket, Key: keys[0] }));

console.log(JSON.stringify(found));
