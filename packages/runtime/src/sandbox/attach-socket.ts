import { closeSync, constants, openSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import { loadKoffi } from '../airlock/system-calls.ts';
import { EXEC_FILES } from './supervised-exec.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SHUT_RD = 0;
const SHUT_WR = 1;
/**
 * The errors after which nobody reads any more: EBADF, EPIPE, ECONNRESET, ENOTCONN. Any other is tried again: between a call and the asking for its
 * error number the engine may have made calls of its own, so another number says nothing.
 */
const FINAL_ERRORS: ReadonlySet<number> = new Set([9, 32, 104, 107]);
/** The longest path of a Unix socket, with its NUL. */
const PATH_BYTES = 108;
/** What the supervisor reads at once: a longer message would be cut. */
const MAX_MESSAGE_BYTES = 8 * 1024;
/** How long to wait before trying again where the command does not read, in ms; doubles up to the second. */
const MIN_RETRY_MS = 2;
const MAX_RETRY_MS = 50;

interface SocketCalls {
  socket(domain: number, type: number, protocol: number): number;
  connect(fd: number, address: Buffer, length: number): number;
  send(fd: number, bytes: Buffer, length: number, flags: number): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  errno(): number;
}

let loaded: SocketCalls | undefined;

/** Node itself knows stream sockets alone, and the supervisor's is one of packets. */
function socketCalls(): SocketCalls {
  if (loaded !== undefined) return loaded;
  const koffi = loadKoffi();
  const library = koffi.load(null);
  loaded = {
    socket: library.func('socket', 'int', ['int', 'int', 'int']),
    connect: library.func('connect', 'int', ['int', 'void *', 'uint']),
    send: library.func('send', 'long', ['int', 'void *', 'size_t', 'int']),
    shutdown: library.func('shutdown', 'int', ['int', 'int']),
    close: library.func('close', 'int', ['int']),
    errno: () => koffi.errno(),
  };
  return loaded;
}

/** The standard input of a supervised command. */
export class AttachSocket {
  readonly #calls = socketCalls();
  #fd: number;

  /** @throws SallyportError `EXEC_ENDED` when there is no supervisor any more. */
  constructor(directory: string) {
    const calls = this.#calls;
    // By descriptor: the path of the directory may be longer than a socket's may be.
    const folder = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      this.#fd = calls.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      const address = Buffer.alloc(2 + PATH_BYTES);
      address.writeUInt16LE(AF_UNIX, 0);
      address.write(`/proc/self/fd/${folder}/${EXEC_FILES.attach}`, 2, 'latin1');
      if (this.#fd < 0 || calls.connect(this.#fd, address, address.length) !== 0) {
        this.close();
        throw new SallyportError('EXEC_ENDED', 'The command has ended, or has no open standard input.');
      }
    } finally {
      closeSync(folder);
    }
    // Its output is read from the log; what the supervisor sends here would only pile up.
    calls.shutdown(this.#fd, SHUT_RD);
  }

  /**
   * Writes all of it, as fast as the command reads.
   *
   * @throws SallyportError `EXEC_ENDED` when nobody reads any more.
   */
  async write(bytes: Buffer): Promise<void> {
    let retryMs = MIN_RETRY_MS;
    for (let offset = 0; offset < bytes.length;) {
      const part = bytes.subarray(offset, offset + MAX_MESSAGE_BYTES);
      const sent = this.#fd < 0 ? -1 : this.#calls.send(this.#fd, part, part.length, MSG_NOSIGNAL);
      if (sent > 0) {
        offset += sent;
        retryMs = MIN_RETRY_MS;
        continue;
      }
      if (this.#fd < 0 || FINAL_ERRORS.has(this.#calls.errno())) {
        throw new SallyportError('EXEC_ENDED', 'The command has ended, or does not read its standard input any more.');
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    }
  }

  /** Lends the descriptor of this connection. */
  share(use: (descriptor: number) => void): void {
    if (this.#fd >= 0) use(this.#fd);
  }

  /** Lets the command see the end of its input. */
  end(): void {
    if (this.#fd >= 0) this.#calls.shutdown(this.#fd, SHUT_WR);
    this.close();
  }

  /** Closes this end alone; the supervisor takes that for the end of input as well, unless another process holds it too. */
  close(): void {
    if (this.#fd >= 0) this.#calls.close(this.#fd);
    this.#fd = -1;
  }
}
