import { request as requestByHttp, type IncomingMessage } from 'node:http';
import { request as requestByHttps } from 'node:https';
import type { SecureContext } from 'node:tls';
import { SallyportError } from '@sallyport/sdk';
import { loadUpstreamTrust, UpstreamTrust } from '../tls/upstream-trust.ts';
import { calledOff, sourceFailed, tooLate } from './fetched-value.ts';

/** A value with all that may lie beside it in one answer. */
const MAX_ANSWER_BYTES = 1024 * 1024;

export interface SourceRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** A file of certificates in PEM, which alone are trusted; default: those of the system. */
  readonly authorityFile: string | undefined;
  readonly signal: AbortSignal;
  readonly timeLimitMs: number;
}

export interface SourceAnswer {
  readonly status: number;
  /** The `Location` of a redirect, which nobody has followed. */
  readonly location: string | null;
  /** The caller's to wipe. */
  readonly body: Buffer;
}

/**
 * Sends one request of the host's own to a service that keeps values, and takes the whole answer. Redirects are not followed, since the request has credentials.
 *
 * @param subject Whom it goes to, as a message begins: "Vault at https://…".
 * @throws SallyportError SOURCE_FAILED when there is no whole answer.
 */
export async function sendRequest(request: SourceRequest, subject: string): Promise<SourceAnswer> {
  const { method, url, headers, body, authorityFile, signal, timeLimitMs } = request;
  const secureContext = url.protocol === 'https:' ? await openTrust(authorityFile, subject) : undefined;
  if (signal.aborted) throw calledOff(subject, signal);
  return await new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestByHttps : requestByHttp;
    // Said by name, or an environment variable of Node's could turn the check off.
    const trust = secureContext === undefined ? {} : { secureContext, rejectUnauthorized: true };
    const chunks: Buffer[] = [];
    let answerBytes = 0;
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', callOff);
      settle();
    };
    const fail = (error: Error): void => {
      for (const chunk of chunks) chunk.fill(0);
      finish(() => reject(error));
      client.destroy();
    };
    const callOff = (): void => fail(calledOff(subject, signal));
    const unreachable = (error: NodeJS.ErrnoException): void =>
      fail(sourceFailed(`${subject} cannot be asked (${error.code ?? 'unknown'}).`, { cause: error }));

    const receive = (answer: IncomingMessage): void => {
      answer.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        answerBytes += chunk.length;
        if (answerBytes > MAX_ANSWER_BYTES)
          fail(sourceFailed(`${subject} answers with more than ${MAX_ANSWER_BYTES / 1024} KiB.`));
      });
      answer.once('error', unreachable);
      answer.once('end', () => {
        const whole = Buffer.concat(chunks);
        for (const chunk of chunks) chunk.fill(0);
        finish(() =>
          resolve({ status: answer.statusCode ?? 0, location: answer.headers.location ?? null, body: whole }),
        );
      });
    };
    const client = send(url, { method, headers, agent: false, ...trust }, receive);
    client.on('error', unreachable);
    const timer = setTimeout(() => fail(tooLate(subject, timeLimitMs)), timeLimitMs);
    signal.addEventListener('abort', callOff, { once: true });
    client.end(body);
  });
}

async function openTrust(authorityFile: string | undefined, subject: string): Promise<SecureContext> {
  try {
    const trust = await loadUpstreamTrust({ extraCaFiles: authorityFile === undefined ? [] : [authorityFile] });
    if (authorityFile === undefined) return trust.context();
    return new UpstreamTrust({ source: authorityFile, systemPem: '', extraPem: trust.extraPem }).context();
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    throw sourceFailed(`${subject} cannot be asked. ${error.message}.`, { cause: error });
  }
}

/**
 * A JSON object, of an answer or of a value.
 *
 * @returns null where it is none. What is wrong with it is not said: a parser's words quote what it read.
 */
export function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}

/** `value` where it is a JSON object, else null. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

/**
 * The text that a JSON object has under a key.
 *
 * @throws SallyportError SOURCE_FAILED when there is none.
 */
export function textMember(object: Readonly<Record<string, unknown>>, key: string, subject: string): string {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if (value === undefined) throw sourceFailed(`${subject} has no key ${JSON.stringify(key)}.`);
  if (typeof value !== 'string')
    throw sourceFailed(`${subject} has something else than text under the key ${JSON.stringify(key)}.`);
  return value;
}
