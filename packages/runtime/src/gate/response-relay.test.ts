import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Redactor } from '../secrets/redact.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { ResponseRelay } from './response-relay.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

const VALUE = 'ghp_Zx81bcQ7fK2mZx9L';
const PLACEHOLDER = 'sp_TOKEN_0q1w2e3r';

/** A relay that keeps a 401 back, and what it has written to its client. */
function openRelay(): { readonly relay: ResponseRelay; readonly written: () => string } {
  let output = '';
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
    method: 'GET',
    minor: 1,
    keepAlive: true,
    redactor: new Redactor([{ name: 'TOKEN', placeholder: PLACEHOLDER, values: [new SecretValue(VALUE)] }]),
    offer: null,
    listener: {
      responseSwitched: () => assert.fail('nothing was switched'),
      holdsResponse: () => true,
      responseComplete: () => undefined,
      responseFailed: (code, detail) => assert.fail(`${code}: ${detail}`),
    },
  });
  return { relay, written: () => output };
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
