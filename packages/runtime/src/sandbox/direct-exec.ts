import type { ChildProcess } from 'node:child_process';
import type { Holder } from '../airlock/holder.ts';
import { buildExecProcess } from './oci-config.ts';
import { RUNTIME_ENVIRONMENT } from './oci-runtime.ts';
import type { ContainerRecord } from './waiting-container.ts';

/** The runtime takes its specification from a file by name, and ours comes by a socket: a file without a name stands between. */
const DIRECT_PROGRAM = `
file=/run/direct-$$
cat <&3 > "$file"
exec 3<&- 4< "$file"
rm "$file"
exec "$@"
`;

/**
 * Runs a short program in a container that waits, with pipes to this process as its standard streams. It has no supervisor: when this process
 * ends, its input ends and its output goes nowhere.
 */
export function startDirectExec(holder: Holder, container: ContainerRecord, command: readonly string[]): ChildProcess {
  const child = holder.enter(
    [
      '/bin/sh',
      '-ec',
      DIRECT_PROGRAM,
      'sallyport-exec',
      container.runtime,
      ...container.runtimeArguments,
      'exec',
      '--process',
      '/proc/self/fd/4',
      container.container,
    ],
    {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      env: { ...RUNTIME_ENVIRONMENT },
      detached: true,
      cgroupProcs: container.cgroupProcs,
    },
  );
  const specification = child.stdio[3];
  if (specification !== null && specification !== undefined && 'end' in specification) {
    specification.on('error', () => undefined);
    specification.end(
      JSON.stringify(
        buildExecProcess({
          terminal: false,
          environment: container.environment,
          workingDirectory: '/',
          limits: container.limits,
          tools: container.tools,
          command,
        }),
      ),
    );
  }
  return child;
}
