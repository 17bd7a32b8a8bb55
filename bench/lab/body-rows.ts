import { closeSync, openSync, readSync } from 'node:fs';
import type { GateKind } from './gate.ts';
import { BODY_CREDENTIAL, LARGE_FILE_BYTES } from './lab.ts';
import type { Lab, Service } from './lab.ts';
import { measureClient, readCurl } from './measure.ts';
import { gateContenders } from './row.ts';
import type { GateWork, Metric, Row, Setting } from './row.ts';

/** Where the placeholder stands in the body that has one. */
const PLACEHOLDER_OFFSET = LARGE_FILE_BYTES / 2;
const METRICS: readonly [Metric, ...Metric[]] = [
  { key: 'rate', title: 'MB/s', better: 'higher' },
  { key: 'gateCpuUs', title: 'gate CPU µs/MiB', better: 'lower' },
  { key: 'peakMb', title: 'peak MB', better: 'lower' },
  { key: 'clientCpuUs', title: 'client CPU µs/MiB', better: 'lower' },
  { key: 'upstreamCpuUs', title: 'nginx CPU µs/MiB', better: 'lower' },
];

/** Transfers that take about as long as they should, the first of which makes the connection. */
function transferCount(seconds: number): number {
  return 2 + seconds;
}

const CURL = `curl -sSk --http1.1 -H "Authorization: Bearer $TOKEN"`;

const download: GateWork = async (lab, gate, origin, seconds) => {
  const transfers = `-o /dev/null ${origin}/large.txt `.repeat(transferCount(seconds));
  const format = `-w 'transfer %{http_code} %{speed_download}\\n'`;
  return measureClient(lab, gate, `${CURL} ${format} ${transfers}`, readCurl);
};

/** The sink's file of an upload, so that gates do not write each other's. */
function sinkName(origin: string): string {
  return new URL(origin).host.replaceAll(/[^a-z0-9]/g, '-');
}

function upload(file: string, options = ''): GateWork {
  return async (lab, gate, origin, seconds) => {
    const transfers = `-T ${file} ${origin}/sink/${sinkName(origin)} `.repeat(transferCount(seconds));
    const format = `-w 'transfer %{http_code} %{speed_upload}\\n'`;
    return measureClient(
      lab,
      gate,
      `${CURL} -H 'Expect:' -H 'Content-Type: text/plain' ${options} ${format} ${transfers}`,
      readCurl,
    );
  };
}

/** Uploads a text in whose middle the client's placeholder stands, and holds what arrived against the value. */
function uploadWithPlaceholder(options: string): GateWork {
  const send = upload('"$SCRATCH/body.txt"', options);
  return async (lab, gate, origin, seconds) => {
    const parts = [
      `head -c ${PLACEHOLDER_OFFSET} large.txt`,
      'printf %s "$BODY_TOKEN"',
      `tail -c +${PLACEHOLDER_OFFSET + 1} large.txt`,
    ];
    await gate.client.run(`[ -f "$SCRATCH/body.txt" ] || { ${parts.join('; ')}; } > "$SCRATCH/body.txt"`);
    const figures = await send(lab, gate, origin, seconds);
    checkSink(lab, sinkName(origin));
    return figures;
  };
}

function checkSink(lab: Lab, name: string): void {
  const file = openSync(lab.path('www', 'sink', name), 'r');
  const found = Buffer.alloc(BODY_CREDENTIAL.length);
  readSync(file, found, 0, found.length, PLACEHOLDER_OFFSET);
  closeSync(file);
  if (found.toString('latin1') !== BODY_CREDENTIAL) throw new Error('the value did not arrive in the body');
}

function bodyRow(id: string, title: string, service: Service, work: GateWork, isQuick: boolean): Row {
  return {
    id,
    title: `64 MiB ${title}`,
    metrics: METRICS,
    baseline: 'HAProxy',
    isQuick,
    contenders: (setting) => gateContenders(setting, kindsFor(setting, id), service, work),
  };
}

/** Ours with a secret for bodies, where bodies are what it is about. */
function kindsFor({ kinds }: Setting, id: string): readonly GateKind[] {
  if (!id.startsWith('up-body')) return kinds;
  return kinds.map((kind) => kind.variant?.(kind.name, { bodies: true }) ?? kind);
}

const CHUNKED = "-H 'Transfer-Encoding: chunked'";

/** Rows of large bodies. */
export const BODY_ROWS: readonly Row[] = [
  bodyRow('down-tunnel', 'down, tunnelled (HAProxy in TCP mode)', 'tunnel', download, false),
  bodyRow('down', 'down, intercepted; ours with redaction', 'api', download, true),
  bodyRow('up-tunnel', 'up, tunnelled (HAProxy in TCP mode)', 'tunnel', upload('large.txt'), false),
  bodyRow('up', 'up, intercepted', 'upload', upload('large.txt'), true),
  bodyRow(
    'up-body',
    'up with a length, ours with a placeholder in the body',
    'upload',
    uploadWithPlaceholder(''),
    false,
  ),
  bodyRow(
    'up-body-chunked',
    'up in chunks, ours with a placeholder in the body',
    'upload',
    uploadWithPlaceholder(CHUNKED),
    false,
  ),
];
