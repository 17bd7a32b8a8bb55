import { findForms } from './canary.ts';
import { findAmbiguities } from './framing-check.ts';
import { readHttp2Data } from './http2-frames.ts';
import { decodeBody, fieldValues } from './message-reader.ts';
import type { Exchange, Session, Target } from './session.ts';
import { credentialOf } from './upstreams.ts';
import type { UpstreamConnection, UpstreamRequest } from './upstreams.ts';

/** Part of every request that an attack hides inside another one: it must never arrive as a request of its own. */
export const SMUGGLED = 'smuggled-request';

/** What a client must never read: it marks bytes that belong to somebody else's answer. */
export const FOREIGN = 'answer-of-somebody-else';

function isBoundAuthority(text: string, target: Target): boolean {
  const name = text.toLowerCase().replace(/:443$/, '').replace(/\.$/, '');
  return name === target.bound.toLowerCase();
}

function listValues(target: Target): { what: string; value: string; isFirst: boolean }[] {
  const values = [{ what: 'the value', value: target.value, isFirst: true }];
  if (target.second !== undefined)
    values.push({ what: "the second secret's value", value: target.second.value, isFirst: false });
  return values;
}

function judgeConnection(connection: UpstreamConnection, target: Target): string[] {
  const received = connection.received();
  const findings: string[] = [];
  for (const { what, value, isFirst } of listValues(target)) {
    const home = isFirst ? 'bound-tls' : 'unbound-tls';
    if (connection.server === home) continue;
    for (const form of findForms(value, received)) findings.push(`${what} (${form}) reached ${connection.server}`);
  }
  if (connection.protocol === 'http/1.1') {
    for (const problem of findAmbiguities(received)) findings.push(`${connection.server} was sent ${problem}`);
  }
  return findings;
}

function judgeRequest(request: UpstreamRequest, target: Target): string[] {
  const findings: string[] = [];
  const { server } = request.connection;
  // With the value in it the gate saw the request: gate and server agree on where it begins.
  if (request.target.includes(SMUGGLED) && credentialOf(request) !== target.value) {
    findings.push(`a request that the gate did not see arrived at ${server}`);
  }
  const isReleased = request.fields.some(
    ([, value]) => findForms(target.value, Buffer.from(value, 'latin1')).length > 0,
  );
  if (server !== 'bound-tls' || !isReleased) return findings;
  const hosts = fieldValues({ ...request, startLine: '' }, 'host');
  const named = [...hosts];
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(request.target))
    named.push(request.target.replace(/^[^/]*\/\//, '').replace(/[/?#].*$/, ''));
  if (hosts.length === 0 || !named.every((one) => isBoundAuthority(one, target))) {
    findings.push('the value was released in a request that names another host than the bound one');
  }
  return findings;
}

function judgeExchange(exchange: Exchange, target: Target): string[] {
  const findings: string[] = [];
  const bodies = exchange.alpn === 'h2' ? [readHttp2Data(exchange.received)] : exchange.responses.map(decodeBody);
  for (const { what, value } of listValues(target)) {
    const forms = new Set([exchange.received, ...bodies].flatMap((data) => findForms(value, data)));
    for (const form of forms) findings.push(`the client read ${what} (${form})`);
  }
  if (exchange.received.includes(FOREIGN)) findings.push("the client read an answer to somebody else's request");
  return findings;
}

/** What leaked in an attack, each finding once; empty when nothing did. */
export function judge(session: Session): string[] {
  const { target } = session;
  const findings = [
    ...session.findings,
    ...session.connections.flatMap((connection) => judgeConnection(connection, target)),
    ...session.requests.flatMap((request) => judgeRequest(request, target)),
    ...session.exchanges.flatMap((exchange) => judgeExchange(exchange, target)),
  ];
  return [...new Set(findings)];
}
