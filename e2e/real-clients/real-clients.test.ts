import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createScene, findPresentCaller } from '../harness/caller.ts';
import { newCanary } from '../harness/canary.ts';
import type { Canary } from '../harness/canary.ts';
import { headerValues } from '../harness/recording.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import type { SallyportResult } from '../harness/sallyport.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { startGrpcUpstream } from './grpc-server.ts';
import { CLIENT_OPTIONS, GRPC_HOST, listRows } from './rows.ts';
import type { GrpcRow, HttpRow, Row, WebSocketRow } from './rows.ts';
import { findMissing } from './set-up.ts';
import { keepResults, readTable } from './table.ts';
import type { TableLine } from './table.ts';
import { GITHUB_HOST, HOST, startClientsUpstream } from './upstream.ts';

const ROW_TIMEOUT_MS = 90_000;
const PLACEHOLDER = /^sp_API_TOKEN_[0-9A-Za-z]{22}$/;
/** What stands in a cell that has nothing to say. */
const NONE = '–';
/** Status codes of gRPC: CANCELLED, DEADLINE_EXCEEDED and INTERNAL, which is the gate's answer to a message with a credential. */
const [GRPC_CANCELLED, GRPC_DEADLINE_EXCEEDED, GRPC_INTERNAL] = [1, 4, 13];
const BIG_MESSAGE_BYTES = 50 * 1024 * 1024;

const rows = listRows(findMissing());
const lines = new Map<string, TableLine>();

interface Run {
  readonly result: SallyportResult;
  readonly placeholder: string;
  readonly version: string;
  readonly section: (name: string) => string;
}

/** Runs a row's script, whose parts begin with lines `@@NAME`, and checks what is the same for every client. */
async function runRow(row: Row, options: readonly string[], script: readonly string[], canary: Canary): Promise<Run> {
  using scene = createScene(findPresentCaller());
  const parts = [
    'exec 2>&1',
    `echo @@version; ${row.version}`,
    'echo @@held; echo "$API_TOKEN"',
    ...script,
    'echo @@end; true',
  ];
  const result = await sallyport(
    ['run', ...options, ...CLIENT_OPTIONS, ...(row.options ?? []), '--', 'sh', '-c', parts.join('\n')],
    { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: ROW_TIMEOUT_MS },
  );
  assert.equal(result.status, 0, describeRun(result));
  const pieces = result.stdout.split(/^@@([a-z]+)\n/m).slice(1);
  const section = (name: string): string => {
    const index = pieces.findIndex((piece, index) => index % 2 === 0 && piece === name);
    return index === -1 ? assert.fail(`no ${name}: ${describeRun(result)}`) : (pieces[index + 1] ?? '');
  };
  const placeholder = section('held').trim();
  assert.match(placeholder, PLACEHOLDER);
  assertRunKeptSecret(canary, result, scene);
  const version = /\d+(?:\.\d+)+/.exec(section('version'))?.[0] ?? assert.fail(`no version: ${describeRun(result)}`);
  return { result, placeholder, version, section };
}

/** Shell text that hands a stream on line by line, and tells the upstream that its first piece has come. */
function acknowledging(stream: string): string {
  const acknowledge = `curl -sS 'https://${HOST}/ack' >/dev/null`;
  return `${stream} | while IFS= read -r line; do printf '%s\\n' "$line"; case $line in "piece 1"*) ${acknowledge};; esac; done`;
}

async function runHttp(row: HttpRow): Promise<TableLine> {
  const canary = newCanary();
  await using clients = await startClientsUpstream(canary.value);
  const { upstream } = clients;
  const script = [`echo @@reflect; ${row.reflect}`];
  if (row.stream !== undefined && row.limitation === undefined)
    script.push(`echo @@stream; ${acknowledging(row.stream)}`);
  const secret = ['--secret', `API_TOKEN@${HOST},${GITHUB_HOST}`];
  const { result, placeholder, version, section } = await runRow(row, [...upstream.flags(), ...secret], script, canary);
  const common = { client: row.name, version };
  if (row.limitation !== undefined) {
    const { prints, because } = row.limitation;
    assert.match(section('reflect'), prints, 'it fails in another way than the table says, or works');
    assert.equal(upstream.requests.length, 0);
    return {
      ...common,
      protocol: NONE,
      placeholder: 'no',
      streaming: 'no',
      ca: 'no',
      note: `known limitation: ${because}`,
    };
  }
  const carrying = upstream.requests.filter((request) =>
    [receivedCredential(request), headerValues(request, 'authorization')[0]].includes(canary.value),
  );
  assert.ok(carrying.length > 0, `the upstream never got the credential: ${describeRun(result)}`);
  const protocols = new Set(carrying.map(({ httpVersion }) => (httpVersion === '2' ? 'HTTP/2' : 'HTTP/1.1')));
  assert.deepEqual([...protocols], [row.protocol], describeRun(result));
  assert.ok(section('reflect').includes(`before ${placeholder} after`), describeRun(result));

  const streams = row.stream !== undefined || row.streamsByItself === true;
  if (streams) {
    const copies = section('reflect').split(placeholder).length - 1;
    assert.ok(copies >= 2, `once in the header and once in the body: ${describeRun(result)}`);
    assert.ok(section('stream').includes(`piece 1 ${placeholder}\npiece 2\n`), describeRun(result));
  }
  const streaming = streams ? 'yes' : NONE;
  return { ...common, protocol: row.protocol, placeholder: 'yes', streaming, ca: 'yes', note: row.note ?? '' };
}

/** The lines `NAME=VALUE` of a program's output. */
function readAnswers(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, name = '', value = ''] of text.matchAll(/^([a-z]+)=(.*)$/gm)) found[name] = value;
  return found;
}

async function runGrpc(row: GrpcRow): Promise<TableLine> {
  const canary = newCanary();
  await using clients = await startClientsUpstream(canary.value);
  await using upstream = await startGrpcUpstream(GRPC_HOST, clients.upstream.authority);
  const options = [
    ...clients.upstream.flags(),
    ...['--resolve', `${GRPC_HOST}:443:127.0.0.1:${upstream.port}`],
    ...['--secret', `API_TOKEN@${GRPC_HOST}`],
  ];
  const { result, placeholder, version, section } = await runRow(
    row,
    options,
    [`echo @@calls; ${row.command}`],
    canary,
  );
  assert.deepEqual(
    readAnswers(section('calls')),
    {
      unary: 'hello',
      trailer: placeholder,
      server: 'piece 1,piece 2,piece 3',
      client: 'a+b+c',
      bidi: 'a,b,c',
      big: String(BIG_MESSAGE_BYTES),
      leak: String(GRPC_INTERNAL),
      deadline: String(GRPC_DEADLINE_EXCEEDED),
      cancel: String(GRPC_CANCELLED),
    },
    describeRun(result),
  );
  const methods = ['Unary', 'ServerStream', 'ClientStream', 'Bidi', 'Unary', 'Leak', 'Never', 'Hold'];
  assert.deepEqual(
    upstream.calls.map((call) => call === `${call.split(' ')[0]} ${canary.value}`),
    methods.map(() => true),
  );
  assert.deepEqual(
    upstream.calls.map((call) => call.split(' ')[0]),
    methods,
  );
  assert.deepEqual(upstream.cancelled, ['Never', 'Hold'], 'deadline and cancellation reach the upstream');
  const note =
    'gRPC: four call types, metadata and trailers, deadline, cancellation, 50 MB messages; a message that holds the value ends its call';
  return { client: row.name, version, protocol: 'HTTP/2', placeholder: 'yes', streaming: 'yes', ca: 'yes', note };
}

async function runWebSocket(row: WebSocketRow): Promise<TableLine> {
  const canary = newCanary();
  await using clients = await startClientsUpstream(canary.value);
  const options = [
    ...clients.upstream.flags(),
    ...['--secret', `API_TOKEN@${HOST}`, '--secret-in', 'header,websocket'],
  ];
  const { result, placeholder, version, section } = await runRow(row, options, [`echo @@talk; ${row.command}`], canary);
  assert.deepEqual(
    readAnswers(section('talk')),
    {
      deflate: 'true',
      first: `before ${placeholder} after`,
      text: `text ${placeholder}`,
      fragments: `fragment ${placeholder}`,
      binary: '300000',
      close: '1000',
    },
    describeRun(result),
  );
  const expected = [`text ${canary.value}`, `fragment ${canary.value}`];
  assert.ok(clients.messages.join() === expected.join(), 'the upstream got other messages');
  const note = 'handshake, text, fragments, binary, permessage-deflate';
  return { client: row.name, version, protocol: 'WebSocket', placeholder: 'yes', streaming: 'yes', ca: 'yes', note };
}

async function runKind(row: Row): Promise<TableLine> {
  switch (row.kind) {
    case 'http':
      return runHttp(row);
    case 'grpc':
      return runGrpc(row);
    case 'websocket':
      return runWebSocket(row);
  }
}

for (const row of rows) {
  const options = { timeout: 2 * ROW_TIMEOUT_MS, ...(row.skip === undefined ? {} : { skip: row.skip }) };
  test(`run() and ${row.name}`, options, async () => {
    lines.set(row.name, await runKind(row));
  });
}

after(() => {
  keepResults(
    rows.map((row) => {
      const blank = { client: row.name, version: NONE, protocol: NONE, placeholder: NONE, streaming: NONE, ca: NONE };
      return lines.get(row.name) ?? { ...blank, note: row.skip === undefined ? 'failed' : `not run: ${row.skip}` };
    }),
  );
});

test(
  'docs/clients.md lists every client, and says of each what this run found',
  { skip: process.env['SALLYPORT_CLIENTS_WRITE'] === '1' ? 'it is about to be written' : false },
  () => {
    const table = readTable();
    assert.deepEqual(
      table.map(({ client }) => client),
      rows.map(({ name }) => name),
    );
    for (const line of table) {
      const found = lines.get(line.client);
      // Versions move with the machine's packages.
      if (found !== undefined) assert.deepEqual({ ...line, version: '' }, { ...found, version: '' });
    }
  },
);
