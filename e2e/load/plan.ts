// What each request of the load test is, computed from the seed alone: by the client in the sandbox, by the upstream and by the test.

/** One request and the response that it asks for. */
export interface RequestPlan {
  readonly id: number;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly requestBody: Buffer;
  readonly requestFraming: 'none' | 'length' | 'chunked';
  readonly credential: 'none' | 'bearer' | 'basic' | 'x-api-key';
  readonly status: 200 | 201 | 204 | 404;
  readonly responseFraming: 'length' | 'chunked' | 'until-close';
  readonly coding: 'identity' | 'gzip';
  /** The credential comes back in a header, or a trailer where the response is chunked. */
  readonly reflectsInHead: boolean;
  /** Where in the body the credential comes back, ascending. */
  readonly reflections: readonly number[];
  readonly clientCloses: boolean;
  readonly upstreamCloses: boolean;
  /** A random generator for cutting the bytes of either side. */
  readonly random: () => number;
  /** The response's body with `credential` where it is reflected. */
  responseBody(credential: string): Buffer;
}

const POOL_BYTES = 2 * 1024 * 1024;
const MAX_BODY_BYTES = 1024 * 1024;
/** Of this many requests the first few are sent without waiting for answers. */
const PIPELINE_PERIOD = 40;
const PIPELINE_LENGTH = 6;
const MAX_PIPELINED_BODY_BYTES = 20_000;

/** A generator of numbers in [0, 1); the same for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Makes the plans of one seed. */
export class LoadPlan {
  readonly #seed: number;
  readonly #pool: Buffer;

  constructor(seed: number) {
    this.#seed = seed;
    this.#pool = Buffer.alloc(POOL_BYTES);
    const random = createRandom(seed);
    for (let offset = 0; offset < POOL_BYTES; offset += 4)
      this.#pool.writeUInt32LE(Math.floor(random() * 0x1_0000_0000), offset);
    // Half of it is text, which compresses and looks like what surrounds credentials in real responses.
    for (let offset = 0; offset < POOL_BYTES / 2; offset += 1)
      this.#pool[offset] = 32 + ((this.#pool[offset] as number) % 90);
  }

  /** The numbers of the requests from `first` on, below `end`, that are sent at once on one connection. */
  unit(first: number, end: number): number[] {
    const rest = PIPELINE_LENGTH - (first % PIPELINE_PERIOD);
    const length = rest > 1 ? Math.min(rest, end - first) : 1;
    return Array.from({ length }, (_, index) => first + index);
  }

  request(id: number): RequestPlan {
    const random = createRandom(this.#seed ^ Math.imul(id + 1, 0x9e3779b1));
    const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)] as T;
    const isPipelined = id % PIPELINE_PERIOD < PIPELINE_LENGTH;
    const limit = isPipelined ? MAX_PIPELINED_BODY_BYTES : MAX_BODY_BYTES;
    const slice = (bytes: number): Buffer => {
      const start = Math.floor(random() * (POOL_BYTES - bytes));
      return this.#pool.subarray(start, start + bytes);
    };
    const size = (): number => {
      const kind = random();
      if (kind < 0.15) return 0;
      if (kind < 0.97) return Math.floor(Math.min(limit, 2 ** (random() * 15)));
      return Math.floor(random() * (limit + 1));
    };
    const method = pick('GET', 'GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT');
    const hasBody = method === 'POST' || method === 'PUT';
    const requestBody = hasBody ? slice(size()) : Buffer.alloc(0);
    const credential = pick('none', 'bearer', 'basic', 'x-api-key');
    const status = pick(200, 200, 200, 200, 201, 404, 204);
    const isBodyless = method === 'HEAD' || status === 204;
    const base = isBodyless ? Buffer.alloc(0) : slice(size());
    const responseFraming = isBodyless
      ? 'length'
      : pick('length', 'length', 'chunked', 'chunked', 'chunked', 'until-close');
    const coding = !isBodyless && base.length > 0 && random() < 0.3 ? 'gzip' : 'identity';
    const reflects = credential !== 'none' && random() < 0.5;
    const reflections =
      reflects && !isBodyless
        ? Array.from({ length: 1 + Math.floor(random() * 3) }, () => Math.floor(random() * (base.length + 1))).toSorted(
            (a, b) => a - b,
          )
        : [];
    return {
      id,
      method,
      requestBody,
      requestFraming: hasBody ? pick('length', 'chunked') : 'none',
      credential,
      status,
      responseFraming,
      coding,
      reflectsInHead: reflects && random() < 0.5,
      reflections,
      clientCloses: !isPipelined && random() < 0.03,
      upstreamCloses: random() < 0.03,
      random,
      responseBody(text) {
        const pieces: Buffer[] = [];
        let start = 0;
        for (const offset of reflections) {
          pieces.push(base.subarray(start, offset), Buffer.from(` ${text} `));
          start = offset;
        }
        return Buffer.concat([...pieces, base.subarray(start)]);
      },
    };
  }
}

/** Cuts bytes into pieces of random sizes, now and then tiny ones. */
export function cutBytes(bytes: Buffer, random: () => number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const piece = bytes.subarray(start, start + 1 + Math.floor(random() < 0.2 ? random() * 20 : random() * 65_536));
    pieces.push(piece);
    start += piece.length;
  }
  return pieces;
}
