import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import { removeField } from '../http/fields.ts';
import { responseFraming, type Framing } from '../http/framing.ts';
import { removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import type { ResponseHead } from '../http/message.ts';
import { ERROR_CODE } from '../http2/error-code.ts';
import type { Http2Stream } from '../http2/types.ts';
import type { GateContext } from './gate-context.ts';
import { discardSoon } from './http2-early-answer.ts';
import { responseFields, trailerFields } from './http2-fields.ts';
import { BROKEN_CALL_TRAILERS, isPlainGrpc } from './http2-problem.ts';
import { ResponseBody, type BodySink, type BodySource } from './response-body.ts';
import { markChanged, planResponseBody, redactHead, redactTrailers, rewriteResponseHead } from './response-rewrite.ts';
import type { UpstreamAnswer, UpstreamFault, UpstreamRequest } from './upstream-request.ts';

/** The exchange that a response belongs to. */
export interface ResponseOwner {
  /** By which the request was sent. */
  readonly context: GateContext;
  readonly method: string;
  readonly isGrpc: boolean;
  /** Whether the exchange is over: nothing more is sent to its client. */
  readonly isEnded: boolean;
  /** Whether the client has sent all of its request. */
  readonly isRequestComplete: boolean;
  /** Where the answer comes from. */
  readonly upstream: UpstreamRequest | null;
  /** Some of the answer has come: the time limit starts anew. */
  answered(): void;
  /** Whether this 401 is held back, because the request may be sent once more. */
  holds401(): boolean;
  /** This answer is the one that is passed on. Null, or why it cannot be. */
  accept(head: ResponseHead): UpstreamFault | null;
  switched(head: ResponseHead, upstream: Duplex, rest: Buffer): void;
  /** The request's body may go on. */
  upstreamDrained(): void;
  fail(fault: UpstreamFault): void;
  /** A fault of the gate's own, or a message that cannot be written. */
  broke(error: unknown): void;
  /** The whole answer has been given to the client's stream. */
  complete(): void;
}

/**
 * The response of one exchange on its way to a client of HTTP/2: redacted, with the body that its plan gives it, and its trailers.
 */
export class Http2Response implements UpstreamAnswer, BodySink, BodySource {
  /** What the upstream answered; null before its final head. */
  status: number | null = null;
  /** Body bytes given to the client. */
  bytes = 0;
  /** Whether the whole answer has been given to the client's stream, which is over then if the client has ended its side. */
  isComplete = false;
  readonly #owner: ResponseOwner;
  readonly #stream: Http2Stream;
  #body: ResponseBody | null = null;
  #head: ResponseHead | null = null;
  #trailers: readonly string[] = [];
  #redactions = 0;
  /** What the upstream has done since it answered 401, while it is not known whether the request is sent once more. */
  #held: (() => void)[] | null = null;

  constructor(owner: ResponseOwner, stream: Http2Stream) {
    this.#owner = owner;
    this.#stream = stream;
  }

  /** Values that were found and replaced so far. */
  get redactions(): number {
    return this.#redactions + (this.#body?.matches ?? 0);
  }

  /** Whether a gRPC call in whose messages a value was found has been ended for that. */
  get isBroken(): boolean {
    return this.#owner.isGrpc && (this.#body?.matches ?? 0) > 0;
  }

  interim(head: ResponseHead): void {
    if (this.#owner.isEnded) return;
    try {
      removeHopByHop(head.fields);
      const { redactor } = this.#owner.context;
      if (redactor !== null) this.#redactions += redactHead(head, redactor);
      this.#stream.sendInterim(responseFields(head));
    } catch (error) {
      this.#owner.broke(error);
    }
  }

  head(head: ResponseHead, hasBody: boolean): void {
    const owner = this.#owner;
    if (owner.isEnded) return;
    owner.answered();
    if (head.status === 401 && owner.holds401()) {
      this.#held = [() => this.head(head, hasBody)];
      owner.upstream?.pause();
      return;
    }
    const fault = owner.accept(head);
    if (fault !== null) {
      owner.fail(fault);
      return;
    }
    try {
      this.#begin(head, hasBody);
    } catch (error) {
      this.isComplete = false;
      owner.broke(error);
    }
  }

  switched(head: ResponseHead, upstream: Duplex, rest: Buffer): void {
    this.#owner.switched(head, upstream, rest);
  }

  data(chunk: Buffer): void {
    const owner = this.#owner;
    if (owner.isEnded) return;
    if (this.#held !== null) {
      this.#held.push(() => this.data(chunk));
      return;
    }
    owner.answered();
    try {
      this.#body?.push(chunk);
    } catch (error) {
      owner.broke(error);
    }
  }

  end(trailers: string[]): void {
    const owner = this.#owner;
    if (owner.isEnded) return;
    if (this.#held !== null) {
      this.#held.push(() => this.end(trailers));
      return;
    }
    try {
      if (trailers.length > 0) {
        const { redactor } = owner.context;
        if (redactor !== null) this.#redactions += redactTrailers(trailers, redactor);
        this.#trailers = trailers;
      }
      if (this.#body === null) this.finish();
      else this.#body.end();
    } catch (error) {
      owner.broke(error);
    }
  }

  failed(fault: UpstreamFault): void {
    if (this.#owner.isEnded) return;
    if (this.#held === null) this.#owner.fail(fault);
    else this.#held.push(() => this.failed(fault));
  }

  drain(): void {
    this.#owner.upstreamDrained();
  }

  /** The 401 that was held back is the answer. */
  passOn401(): void {
    // What waits in the stream may come at once, and belongs behind what is held.
    this.#owner.upstream?.resume();
    const held = this.#held ?? [];
    this.#held = null;
    for (const happen of held) happen();
  }

  /** The 401 that was held back is forgotten: the request is sent once more. */
  startOver(): void {
    this.#held = null;
  }

  /** The client's stream can take more. */
  drained(): void {
    this.#body?.drained();
  }

  dispose(): void {
    this.#body?.dispose();
  }

  pause(): void {
    this.#owner.upstream?.pause();
  }

  resume(): void {
    this.#owner.upstream?.resume();
  }

  write(data: Buffer): boolean {
    if (this.isBroken) {
      // A message carries its own length: with the value taken out it is no message any more, so the call must not succeed.
      this.#owner.upstream?.abort(ERROR_CODE.cancel);
      this.finish();
      return true;
    }
    this.bytes += data.length;
    return this.#stream.sendData(data);
  }

  measured(body: Buffer): void {
    const head = this.#head;
    if (head === null) throw new TypeError('a body is measured before its head came');
    if ((this.#body?.matches ?? 0) > 0) markChanged(head.fields);
    setFraming(head.fields, { kind: 'length', bytes: body.length });
    this.#stream.sendHead(responseFields(head));
    if (body.length > 0) this.write(body);
  }

  finish(): void {
    const owner = this.#owner;
    const stream = this.#stream;
    if (owner.isEnded) return;
    const trailers = this.isBroken ? BROKEN_CALL_TRAILERS : this.#trailers;
    if (!this.isComplete) {
      this.isComplete = true;
      try {
        stream.end(trailers.length === 0 ? null : trailerFields(trailers));
      } catch (error) {
        this.isComplete = false;
        owner.broke(error);
        return;
      }
    }
    const isEarly = !owner.isRequestComplete;
    owner.complete();
    if (isEarly) discardSoon(stream);
  }

  fail(code: ErrorCode, detail: string): void {
    this.#owner.fail({ code, detail });
  }

  #begin(head: ResponseHead, hasBody: boolean): void {
    const { context, method, isGrpc } = this.#owner;
    const { redactor } = context;
    const announced = responseFraming(head, method);
    const framing: Framing = !hasBody || announced.kind === 'none' ? { kind: 'none' } : announced;
    const plan = planResponseBody(head, framing, redactor !== null);
    this.status = head.status;
    if (plan.kind === 'refused') {
      this.fail('RESPONSE_UNREDACTABLE', `The response cannot be searched for credentials: ${plan.reason}.`);
      return;
    }
    if (isGrpc && redactor !== null && !isPlainGrpc(head)) {
      this.fail('RESPONSE_UNREDACTABLE', 'The response holds compressed messages although none were asked for.');
      return;
    }
    this.#redactions += rewriteResponseHead(head, plan, redactor);
    this.#head = head;
    if (plan.kind === 'none') {
      this.isComplete = !hasBody;
      this.#stream.sendHead(responseFields(head), { ends: !hasBody });
      return;
    }
    this.#body = new ResponseBody(plan, redactor, this, this);
    if (plan.kind === 'measured') return;
    if (plan.kind === 'streamed') removeField(head.fields, 'content-length');
    this.#stream.sendHead(responseFields(head));
  }
}
