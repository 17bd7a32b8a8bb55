import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { crc32 } from 'node:zlib';
import { startSignatureVerifier } from '../harness/sigv4-verifier.ts';
import type { SignatureVerdict, VerifierKey } from '../harness/sigv4-verifier.ts';
import { startUpstream } from '../harness/upstream.ts';
import type { Upstream } from '../harness/upstream.ts';
import type { RecordedRequest } from '../harness/recording.ts';

export const REGION = 'eu-west-1';
export const BUCKET = 'bucket-one';

const STS = `sts.${REGION}.amazonaws.com`;
const BEDROCK = `bedrock-runtime.${REGION}.amazonaws.com`;
const S3 = `s3.${REGION}.amazonaws.com`;
const BUCKET_HOST = `${BUCKET}.${S3}`;

const GLOBAL_BUCKET_HOST = `${BUCKET}.s3.amazonaws.com`;

/** What each host's requests may be signed for. `localhost` is for clients that are told where to go. */
const SCOPES: Readonly<Record<string, readonly string[]>> = {
  [STS]: [`${REGION}/sts`],
  [BEDROCK]: [`${REGION}/bedrock`],
  [S3]: [`${REGION}/s3`],
  [BUCKET_HOST]: [`${REGION}/s3`],
  // Its name has no region: the client's, where its signature names one.
  [GLOBAL_BUCKET_HOST]: [`${REGION}/s3`, 'us-east-1/s3'],
};

/** A request that came, and whether it was signed as it has to be. */
export interface JudgedRequest {
  readonly recorded: RecordedRequest;
  readonly host: string;
  readonly verdict: SignatureVerdict;
}

export interface AwsStandIn extends AsyncDisposable {
  readonly upstream: Upstream;
  readonly requests: readonly JudgedRequest[];
  /** The contents of the bucket, by key. */
  readonly objects: ReadonlyMap<string, Buffer>;
}

/**
 * Starts a server that is STS, the runtime of Bedrock and one bucket of S3, for requests signed with one of `keys`, and says 403 to any other.
 *
 * @param others further hosts that it is.
 */
export async function startAwsStandIn(
  keys: Readonly<Record<string, VerifierKey>>,
  others: readonly string[] = [],
): Promise<AwsStandIn> {
  const verifier = startSignatureVerifier(keys);
  const requests: JudgedRequest[] = [];
  const bucket = new Bucket();
  const upstream = await startUpstream({
    names: [...Object.keys(SCOPES), ...others, 'localhost'],
    http2: true,
    handler: async (request, response, recorded) => {
      recorded.body = await readBody(request);
      const { host, headers } = wireHeaders(recorded);
      const signed = await verifier.verify({ ...recorded, headers, body: recorded.body });
      const verdict = judgeScope(host, signed);
      requests.push({ recorded, host, verdict });
      if (!verdict.ok) {
        sendXml(response, 403, `<Error><Code>SignatureDoesNotMatch</Code><Message>${verdict.reason}</Message></Error>`);
        return true;
      }
      const url = new URL(recorded.target, 'https://stand-in');
      // As S3 does in its errors, and nobody has to: what was signed with comes back.
      const named = headers.find(([name]) => name.toLowerCase() === 'x-amz-security-token')?.[1];
      response.setHeader('x-signed-with', [verdict.id, ...(named === undefined ? [] : [named])].join(' '));
      switch (verdict.service) {
        case 'sts':
          return serveSts(response, verdict.id);
        case 'bedrock':
          return serveBedrock(response, url);
        default:
          return bucket.serve({ request, response, url, host, content: verdict.content });
      }
    },
  });
  return {
    upstream,
    requests,
    objects: bucket.objects,
    async [Symbol.asyncDispose]() {
      await upstream.close();
      verifier[Symbol.dispose]();
    },
  };
}

function judgeScope(host: string, verdict: SignatureVerdict): SignatureVerdict {
  const wanted = SCOPES[host];
  if (!verdict.ok || wanted === undefined) return verdict;
  const scope = `${verdict.region}/${verdict.service}`;
  return wanted.includes(scope) ? verdict : { ok: false, reason: `signed for ${scope}` };
}

/** The fields as a signature covers them: over HTTP/2 `:authority`, as itself or as `Host`. */
function wireHeaders({ rawHeaders }: RecordedRequest): { host: string; headers: [string, string][] } {
  const headers = rawHeaders.flatMap(([name, value]): [string, string][] =>
    name === ':authority'
      ? [
          [name, value],
          ['host', value],
        ]
      : name.startsWith(':')
        ? []
        : [[name, value]],
  );
  const host = headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? '';
  return { host: host.replace(/:\d+$/, ''), headers };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function sendXml(response: ServerResponse, status: number, xml: string): true {
  response
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="UTF-8"?>\n${xml}`);
  return true;
}

function serveSts(response: ServerResponse, id: string): true {
  return sendXml(
    response,
    200,
    `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
      `<Arn>arn:aws:iam::123456789012:user/host</Arn><UserId>${id}</UserId><Account>123456789012</Account>` +
      `</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
  );
}

function serveBedrock(response: ServerResponse, url: URL): true {
  const operation = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
  if (operation !== 'converse-stream') {
    const answer =
      operation === 'converse'
        ? {
            output: { message: { role: 'assistant', content: [{ text: 'hello' }] } },
            stopReason: 'end_turn',
            usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 },
            metrics: { latencyMs: 1 },
          }
        : { completion: 'hello' };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    return true;
  }
  response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' });
  const events: [string, unknown][] = [
    ['messageStart', { role: 'assistant' }],
    ...['one ', 'two ', 'three'].map((text): [string, unknown] => [
      'contentBlockDelta',
      { delta: { text }, contentBlockIndex: 0 },
    ]),
    ['contentBlockStop', { contentBlockIndex: 0 }],
    ['messageStop', { stopReason: 'end_turn' }],
  ];
  for (const [type, payload] of events) response.write(encodeEvent(type, payload));
  response.end();
  return true;
}

/** https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html */
function encodeEvent(type: string, payload: unknown): Buffer {
  const headers = Buffer.concat(
    Object.entries({ ':event-type': type, ':content-type': 'application/json', ':message-type': 'event' }).map(
      ([name, value]) => {
        const length = Buffer.alloc(3);
        length.writeUInt8(7);
        length.writeUInt16BE(value.length, 1);
        return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), length, Buffer.from(value)]);
      },
    ),
  );
  const body = Buffer.from(JSON.stringify(payload));
  const prelude = Buffer.alloc(8);
  prelude.writeUInt32BE(16 + headers.length + body.length);
  prelude.writeUInt32BE(headers.length, 4);
  const head = Buffer.concat([prelude, checksum(prelude), headers, body]);
  return Buffer.concat([head, checksum(head)]);
}

function checksum(data: Buffer): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(data));
  return bytes;
}

interface ObjectRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly host: string;
  readonly content: Buffer;
}

/** One bucket, by path and by host name. */
class Bucket {
  readonly objects = new Map<string, Buffer>();
  readonly #uploads = new Map<string, Map<number, Buffer>>();

  serve({ request, response, url, host, content }: ObjectRequest): true {
    // What the URL class makes of a path is not what S3 does.
    const path = (request.url ?? '').split('?')[0] ?? '';
    const key = decodeURIComponent(host.startsWith(`${BUCKET}.`) ? path.slice(1) : path.slice(1 + BUCKET.length + 1));
    const { searchParams: query } = url;
    const tag = (data: Buffer): string => `"${createHash('md5').update(data).digest('hex')}"`;
    if (key === '') return this.#list(response, query);
    switch (request.method) {
      case 'PUT': {
        const part = query.get('partNumber');
        if (part === null) this.objects.set(key, content);
        else this.#uploads.get(query.get('uploadId') ?? '')?.set(Number(part), content);
        response.writeHead(200, { etag: tag(content) }).end();
        return true;
      }
      case 'POST': {
        if (query.has('uploads')) {
          const id = randomUUID();
          this.#uploads.set(id, new Map());
          return sendXml(
            response,
            200,
            `<InitiateMultipartUploadResult><Bucket>${BUCKET}</Bucket><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
          );
        }
        const parts = this.#uploads.get(query.get('uploadId') ?? '') ?? new Map<number, Buffer>();
        const whole = Buffer.concat([...parts].toSorted(([a], [b]) => a - b).map(([, data]) => data));
        this.objects.set(key, whole);
        return sendXml(
          response,
          200,
          `<CompleteMultipartUploadResult><Bucket>${BUCKET}</Bucket><ETag>${tag(whole)}</ETag></CompleteMultipartUploadResult>`,
        );
      }
      case 'DELETE':
        this.objects.delete(key);
        response.writeHead(204).end();
        return true;
      default: {
        const object = this.objects.get(key);
        if (object === undefined) return sendXml(response, 404, '<Error><Code>NoSuchKey</Code></Error>');
        response.writeHead(200, {
          'content-length': object.length,
          'content-type': 'application/octet-stream',
          'last-modified': 'Sun, 22 Nov 2026 12:00:00 GMT',
          etag: tag(object),
        });
        response.end(request.method === 'HEAD' ? undefined : object);
        return true;
      }
    }
  }

  #list(response: ServerResponse, query: URLSearchParams): true {
    const prefix = query.get('prefix') ?? '';
    const encode = (text: string): string =>
      query.get('encoding-type') === 'url'
        ? encodeURIComponent(text)
        : text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).toSorted();
    const contents = keys.map(
      (key) =>
        `<Contents><Key>${encode(key)}</Key><LastModified>2026-11-22T12:00:00.000Z</LastModified><ETag>"x"</ETag>` +
        `<Size>${this.objects.get(key)?.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
    );
    const encoding = query.get('encoding-type') === 'url' ? '<EncodingType>url</EncodingType>' : '';
    return sendXml(
      response,
      200,
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${BUCKET}</Name><Prefix>${encode(prefix)}</Prefix>${encoding}` +
        `<KeyCount>${keys.length}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>${contents.join('')}</ListBucketResult>`,
    );
  }
}
