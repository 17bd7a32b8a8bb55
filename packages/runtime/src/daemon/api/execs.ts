import type { ExecCreate, ExecEvent, SignalName, TerminalSize } from '@sallyport/sdk';
import { formatPosition, parsePosition, readOutput } from '../exec-output.ts';
import type { ManagedExec } from '../managed-exec.ts';
import type { ManagedSandbox } from '../managed-sandbox.ts';
import type { SandboxRegistry } from '../registry.ts';
import { json, nothing, type ApiEvent, type ApiRequest, type Handler } from './exchange.ts';
import { describeProblem, InvalidRequest } from './problem.ts';

/** Commands in sandboxes. */
export function execHandlers(registry: SandboxRegistry) {
  const findSandbox = ({ params }: ApiRequest) => registry.find(params['sandbox'] ?? '');
  const find = (request: ApiRequest) => findSandbox(request).findExec(request.params['exec'] ?? '');
  return {
    listExecs: async (request) => json({ execs: findSandbox(request).execs.map(({ info }) => info) }),
    async createExec(request) {
      const sandbox = findSandbox(request);
      const exec = await sandbox.exec(request.body as ExecCreate);
      if (!request.wantsEvents) return json(exec.info);
      return { kind: 'events', events: streamExec(sandbox, exec, undefined, request.signal, true) };
    },
    getExec: async (request) => json(find(request).info),
    async streamExec(request) {
      const exec = find(request);
      const after = request.query['after'] ?? request.lastEventId;
      return {
        kind: 'events',
        events: streamExec(
          findSandbox(request),
          exec,
          typeof after === 'string' ? after : undefined,
          request.signal,
          false,
        ),
      };
    },
    async writeStdin(request) {
      const exec = find(request);
      // Where it is not taken to its end, the connection is for the next request all the same.
      const chunks = request.content.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
      await exec.write(chunks, request.query['end'] !== false);
      return nothing;
    },
    async resizeExec(request) {
      find(request).resize(request.body as TerminalSize);
      return nothing;
    },
    async signalExec(request) {
      await find(request).signal((request.body as { signal: SignalName }).signal);
      return nothing;
    },
  } satisfies Record<string, Handler>;
}

/** A command's output as events, and its end as the last of them. It goes on when nobody listens any more. */
async function* streamExec(
  sandbox: ManagedSandbox,
  exec: ManagedExec,
  after: string | undefined,
  signal: AbortSignal,
  saysStarted: boolean,
): AsyncGenerator<ApiEvent, void, undefined> {
  const from = after === undefined ? null : parsePosition(after);
  if (from === undefined) {
    throw new InvalidRequest('query', [{ path: 'after', message: 'It is not the id of an output event' }]);
  }
  if (saysStarted) yield event({ type: 'started', exec: exec.info });
  for await (const output of readOutput(exec, from, true, signal)) {
    if (output.kind === 'gap') {
      yield event({ type: 'gap' });
      continue;
    }
    const { stream, data, time } = output.piece;
    yield event({ type: stream, data: data.toString('base64'), time }, formatPosition(output.position));
  }
  if (!exec.isOver) return;
  const { exitCode, timedOut, reason, state } = exec.row;
  if (state === 'failed' || exitCode === null) {
    yield event({
      type: 'error',
      problem: { ...describeProblem(null), code: 'EXEC_FAILED', status: 500, detail: reason ?? '' },
    });
    return;
  }
  const outOfMemory = exitCode !== 0 && sandbox.takeOutOfMemory();
  yield event({ type: 'exit', exitCode, timedOut, outOfMemory });
}

function event(data: ExecEvent, id?: string): ApiEvent {
  return id === undefined ? { type: data.type, data } : { type: data.type, data, id };
}
