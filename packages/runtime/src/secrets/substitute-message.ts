import type { BodyFormat } from './body-format.ts';
import type { BoundSecret } from './bound-secret.ts';
import { BodySubstituter, type BodySubstitutionStream } from './substitute-body.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/** Puts the values of bound secrets where their placeholders stand in WebSocket messages. Immutable; shared by all connections of a sandbox. */
export class MessageSubstituter {
  readonly #bodies: BodySubstituter;

  /** @param secrets all of the sandbox: placeholders of those not bound to a destination are recognized as stray. */
  constructor(secrets: readonly BoundSecret[]) {
    this.#bodies = new BodySubstituter(secrets);
  }

  /**
   * Starts the messages of one connection; null when no secret may stand in them, so that they need not be read.
   *
   * @param bound the secrets bound to the connection's authority; those of them with location `websocket` are put in.
   * @param scans whether messages are read in any case, for the placeholders that stay in them.
   */
  connection(bound: readonly BoundSecret[], scans = false): ConnectionSubstitution | null {
    const allowed = bound.filter(({ locations }) => locations.some(({ kind }) => kind === 'websocket'));
    return allowed.length === 0 && !scans ? null : new ConnectionSubstitution(this.#bodies, allowed);
  }
}

/** Substitution in the client's messages of one connection. */
export class ConnectionSubstitution {
  /** Names of the secrets whose value was put in. */
  readonly released = new Set<string>();
  /** Names of the secrets whose placeholder stays: not bound here, or not allowed in messages. */
  readonly stray = new Set<string>();
  readonly #bodies: BodySubstituter;
  readonly #allowed: readonly BoundSecret[];

  constructor(bodies: BodySubstituter, allowed: readonly BoundSecret[]) {
    this.#bodies = bodies;
    this.#allowed = allowed;
  }

  /** Starts a message. */
  open(isText: boolean): MessageSubstitution {
    return new MessageSubstitution(
      (kind) => this.#bodies.stream({ kind }, this.#allowed, 'websocket'),
      isText,
      (stream) => {
        for (const name of stream.released) this.released.add(name);
        for (const name of stream.stray) this.stray.add(name);
      },
    );
  }
}

/**
 * One message, piece by piece; the output is the same for any pieces.
 *
 * A text message whose first character after white space is `{` or `[` is taken for JSON (RFC 8259): placeholders are found behind its
 * escapes, and values are written with them. In any other message both stand as they are, in UTF-8.
 */
export class MessageSubstitution {
  readonly #start: (kind: 'json' | 'raw') => BodySubstitutionStream;
  readonly #isText: boolean;
  readonly #report: (stream: BodySubstitutionStream) => void;
  /** Null until the first character that is no white space. */
  #stream: BodySubstitutionStream | null = null;

  constructor(
    start: (kind: Extract<BodyFormat['kind'], 'json' | 'raw'>) => BodySubstitutionStream,
    isText: boolean,
    report: (stream: BodySubstitutionStream) => void,
  ) {
    this.#start = start;
    this.#isText = isText;
    this.#report = report;
  }

  /** Takes a piece; returns what can be passed on (the piece itself where nothing is found or held). */
  push(piece: Buffer): Buffer {
    if (this.#stream === null) {
      const kind = this.#isText ? textKind(piece) : 'raw';
      // White space is the same in either.
      if (kind === null) return piece;
      this.#stream = this.#start(kind);
    }
    const output = this.#stream.push(piece);
    this.#report(this.#stream);
    return output;
  }

  /** A last piece and the end. */
  finish(piece: Buffer): Buffer {
    const passed = this.push(piece);
    const held = this.#stream?.end() ?? NOTHING;
    if (held.length === 0) return passed;
    return passed.length === 0 ? held : Buffer.concat([passed, held]);
  }
}

/** How a text that begins like this is read; null while it is all white space. */
function textKind(data: Buffer): 'json' | 'raw' | null {
  for (const byte of data) {
    if (byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d) continue;
    return byte === 0x7b || byte === 0x5b ? 'json' : 'raw';
  }
  return null;
}
