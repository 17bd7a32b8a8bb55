import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Redactor } from '../secrets/redact.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { ResponseRelay } from './response-relay.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

const VALUE = 'ghp_Zx81bcQ7fK2mZx9L';
const PLACEHOLDER = 'sp_TOKEN_0q1w2e3r';

/** A relay, what it has written to its client, and whether its upstream could be used again when the response was complete. */
function openRelay({ method = 'GET', holds = true } = {}): {
  readonly relay: ResponseRelay;
  readonly written: () => string;
  readonly isReusable: () => boolean | null;
} {
  let output = '';
  let isReusable: boolean | null = null;
  const client = {
    cork: () => undefined,
    uncork: () => undefined,
    write: (data: Buffer | string) => {
      output += typeof data === 'string' ? data : data.toString('latin1');
      return true;
    },
  };
  const upstream = { hold: () => undefined, pause: () => undefined, resume: () => undefined };
  const relay = new ResponseRelay({
    client: client as unknown as Socket,
    upstream: upstream as unknown as UpstreamConnection,
    method,
    minor: 1,
    keepAlive: true,
    redactor: new Redactor([{ name: 'TOKEN', placeholder: PLACEHOLDER, values: [new SecretValue(VALUE)] }]),
    offer: null,
    listener: {
      responseSwitched: () => assert.fail('nothing was switched'),
      holdsResponse: () => holds,
      responseComplete: () => {
        isReusable = relay.upstreamReusable;
      },
      responseFailed: (code, detail) => assert.fail(`${code}: ${detail}`),
    },
  });
  return { relay, written: () => output, isReusable: () => isReusable };
}

test('ResponseRelay.goOn() redacts a head that was kept back, whatever has come into the memory that it was read from', () => {
  for (const body of ['who?', VALUE]) {
    const { relay, written } = openRelay();
    const memory = Buffer.from(
      `HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error="${VALUE}"\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    relay.receive(memory);
    assert.equal(written(), '');
    memory.fill('x');
    relay.goOn();
    assert.doesNotMatch(written(), new RegExp(VALUE));
    assert.match(written(), new RegExp(`^WWW-Authenticate: Bearer error="${PLACEHOLDER}"\r$`, 'm'));
    assert.ok(written().endsWith(body.replace(VALUE, PLACEHOLDER)));
    assert.ok(relay.isComplete);
  }
});

test('ResponseRelay gives no upstream back that has sent more than it announced, be it behind a head without a body', () => {
  const ok = 'HTTP/1.1 200 OK\r\n';
  const responses = [
    ['GET', `${ok}Content-Length: 0\r\n\r\n`],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\n\r\n'],
    ['GET', 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'],
    ['HEAD', `${ok}Content-Length: 4\r\n\r\n`],
    ['GET', `${ok}Content-Length: 4\r\n\r\nfine`],
    ['GET', `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n`],
  ] as const;
  for (const [method, response] of responses) {
    for (const holds of [true, false]) {
      for (const more of ['', 'HTTP/1.1 200 OK\r\n']) {
        const { relay, isReusable } = openRelay({ method, holds });
        relay.receive(Buffer.from(`${response}${more}`));
        relay.goOn();
        assert.equal(isReusable(), more === '', `${method} ${response}${more}`);
      }
    }
  }
});
