// The public API of the package. What crosses a process, and the client of the daemon, belong to the SDK and are re-exported from there.
import { fileURLToPath } from 'node:url';
import { setDaemonProgram } from '@sallyport/sdk/client';

export * from '@sallyport/sdk';
export * from '@sallyport/sdk/client';

// The daemon that the SDK starts is the one of this very package.
setDaemonProgram(fileURLToPath(new URL('../bin/sallyport', import.meta.url)));
