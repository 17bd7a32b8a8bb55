import type { Authority } from '../http/message.ts';
import type { BodyFormat } from '../secrets/body-format.ts';
import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { Coding } from './content-coding.ts';
import type { GateContext } from './gate-context.ts';
import { GatheredBody } from './gathered-body.ts';
import type { Problem } from './problem.ts';
import type { RequestBodyPlan, RequestBodyRelay, RequestBodySink } from './request-body.ts';
import { RequestTransform, type StrayCheck } from './request-transform.ts';
import { ScannedBody } from './scanned-body.ts';

/** Starts what a plan says. A body that is gathered needs room, which a sandbox can have used up. */
export function openRequestBody(
  context: GateContext,
  authority: Authority,
  plan: Exclude<RequestBodyPlan, { kind: 'verbatim' }>,
  sink: RequestBodySink,
):
  | { readonly verdict: 'opened'; readonly body: RequestBodyRelay }
  | { readonly verdict: 'refused'; readonly problem: Problem } {
  const check = strayCheck(context, authority);
  switch (plan.kind) {
    case 'refused':
      return { verdict: 'refused', problem: plan.problem };
    case 'streamed': {
      const substitution = context.bodies.stream(plan.format, plan.bound);
      return { verdict: 'opened', body: new StreamedBody(substitution, plan.codings, check, sink) };
    }
    case 'scanned': {
      const scan = context.bodies.stream(plan.format, []);
      return { verdict: 'opened', body: new ScannedBody(scan, plan.codings, check, sink) };
    }
    case 'gathered': {
      const store = context.bodyStores.open(plan.bytes, () => sink.drain());
      if (store === null) {
        const detail = 'This sandbox has too many long request bodies under way.';
        return { verdict: 'refused', problem: { status: 503, code: 'CAPACITY', detail } };
      }
      const start = (): BodySubstitutionStream => context.bodies.stream(plan.format, plan.bound);
      // A credential that turns out to be refused can be fetched anew, and the request sent once more.
      const keeps = context.provider !== null;
      return { verdict: 'opened', body: new GatheredBody(store, plan, keeps, { start, check }, sink) };
    }
    default:
      throw new TypeError(`unknown plan ${String(plan satisfies never)}`);
  }
}

function strayCheck({ violations }: GateContext, authority: Authority): StrayCheck | null {
  return violations === null ? null : (stray) => violations(stray, authority);
}

/**
 * Has a body that was gathered and sent be sent once more, by what another context says of the same request: `ready` follows, or `refuse`.
 */
export function repeatRequestBody(
  context: GateContext,
  authority: Authority,
  plan: RequestBodyPlan,
  body: RequestBodyRelay,
): void {
  // What may be put in is the same; a body into which nothing may be put any more is read all the same.
  const format: BodyFormat = plan.kind === 'gathered' ? plan.format : { kind: 'opaque' };
  const bound = plan.kind === 'gathered' ? plan.bound : [];
  body.repeat({ start: () => context.bodies.stream(format, bound), check: strayCheck(context, authority) });
}

/** A body that is substituted as it streams. */
class StreamedBody implements RequestBodyRelay {
  readonly gathers = false;
  readonly canRepeat = false;
  readonly #substitution: BodySubstitutionStream;
  readonly #transform: RequestTransform;
  /** The upstream takes more. */
  #isFlowing = true;
  /** The decoder takes more. */
  #isTaking = true;

  constructor(
    substitution: BodySubstitutionStream,
    codings: readonly Coding[],
    check: StrayCheck | null,
    sink: RequestBodySink,
  ) {
    this.#substitution = substitution;
    this.#transform = new RequestTransform(substitution, codings, check, {
      write: (data) => {
        if (sink.write(data)) return;
        this.#isFlowing = false;
        this.#transform.pause();
      },
      end: () => sink.end(),
      refuse: (problem) => sink.refuse(problem),
      drain: () => {
        this.#isTaking = true;
        if (this.#isFlowing) sink.drain();
      },
    });
  }

  get released(): Iterable<string> {
    return this.#substitution.released;
  }

  get stray(): Iterable<string> {
    return this.#substitution.stray;
  }

  push(data: Buffer): boolean {
    this.#isTaking = this.#transform.push(data);
    return this.#isTaking && this.#isFlowing;
  }

  end(): void {
    this.#transform.end();
  }

  send(): void {
    throw new TypeError('a body that streams is sent as it comes');
  }

  repeat(): void {
    throw new TypeError('a body that streamed is gone');
  }

  forget(): void {}

  resume(): boolean {
    this.#isFlowing = true;
    this.#transform.resume();
    return this.#isTaking;
  }

  dispose(): void {
    this.#transform.dispose();
  }
}
