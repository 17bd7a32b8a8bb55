import type { Holder } from '../airlock/holder.ts';
import { EXECS_DIRECTORY } from '../airlock/network.ts';
import type { AttachSocket } from './attach-socket.ts';
import { EXEC_FILES } from './supervised-exec.ts';
import type { ContainerRecord } from './waiting-container.ts';

/**
 * Waits for the end of the supervisor, by a pipe of the supervisor's own. It is opened both ways first: without a writer, the opening for
 * reading would wait for one.
 */
const KEEPER_PROGRAM = `
exec 5<> "$1"
cat < "$1" > /dev/null 2>&1 5>&- &
`;

/**
 * Keeps a connection to the standard input of a command open when this process ends, however it does: the supervisor takes the end of any
 * connection for the end of the input, and a command would take half of its input for all of it. What keeps it is a process of the sandbox's
 * airlock that does nothing and ends with the supervisor. An end that is asked for ({@link AttachSocket.end}) passes all the same.
 */
export function keepInput(holder: Holder, container: ContainerRecord, id: string, input: AttachSocket): void {
  input.share((descriptor) => {
    try {
      const path = `${EXECS_DIRECTORY}/${id}/${EXEC_FILES.control}`;
      const child = holder.enter(['/bin/sh', '-c', KEEPER_PROGRAM, 'sallyport-input', path], {
        stdio: ['ignore', 'ignore', 'ignore', descriptor],
        detached: true,
        cgroupProcs: container.cgroupProcs,
      });
      child.once('error', () => undefined).unref();
    } catch {
      // The sandbox has ended, and so has the command.
    }
  });
}
