import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { GateContext } from './gate-context.ts';
import { GatheredBody } from './gathered-body.ts';
import type { Problem } from './problem.ts';
import type { RequestBodyPlan, RequestBodyRelay, RequestBodySink } from './request-body.ts';
import { RequestTransform } from './request-transform.ts';

/** Starts what a plan says. A body that is gathered needs room, which a sandbox can have used up. */
export function openRequestBody(
  context: GateContext,
  plan: Exclude<RequestBodyPlan, { kind: 'verbatim' }>,
  sink: RequestBodySink,
):
  | { readonly verdict: 'opened'; readonly body: RequestBodyRelay }
  | { readonly verdict: 'refused'; readonly problem: Problem } {
  switch (plan.kind) {
    case 'refused':
      return { verdict: 'refused', problem: plan.problem };
    case 'streamed': {
      const substitution = context.bodies.stream(plan.format, plan.bound);
      return { verdict: 'opened', body: new StreamedBody(substitution, plan.codings, sink) };
    }
    case 'gathered': {
      const store = context.bodyStores.open(plan.bytes, () => sink.drain());
      if (store === null) {
        const detail = 'This sandbox has too many long request bodies under way.';
        return { verdict: 'refused', problem: { status: 503, code: 'CAPACITY', detail } };
      }
      const start = (): BodySubstitutionStream => context.bodies.stream(plan.format, plan.bound);
      return { verdict: 'opened', body: new GatheredBody(store, plan.codings, start, sink) };
    }
    default:
      throw new TypeError(`unknown plan ${String(plan satisfies never)}`);
  }
}

/** A body that is substituted as it streams. */
class StreamedBody implements RequestBodyRelay {
  readonly gathers = false;
  readonly #substitution: BodySubstitutionStream;
  readonly #transform: RequestTransform;
  #isFlowing = true;

  constructor(
    substitution: BodySubstitutionStream,
    codings: Extract<RequestBodyPlan, { kind: 'streamed' }>['codings'],
    sink: RequestBodySink,
  ) {
    this.#substitution = substitution;
    this.#transform = new RequestTransform(substitution, codings, {
      write: (data) => {
        if (sink.write(data)) return;
        this.#isFlowing = false;
        this.#transform.pause();
      },
      end: () => sink.end(),
      refuse: (problem) => sink.refuse(problem),
      drain: () => sink.drain(),
    });
  }

  get released(): Iterable<string> {
    return this.#substitution.released;
  }

  get stray(): Iterable<string> {
    return this.#substitution.stray;
  }

  push(data: Buffer): boolean {
    return this.#transform.push(data) && this.#isFlowing;
  }

  end(): void {
    this.#transform.end();
  }

  send(): void {
    throw new TypeError('a body that streams is sent as it comes');
  }

  resume(): void {
    this.#isFlowing = true;
    this.#transform.resume();
  }

  dispose(): void {
    this.#transform.dispose();
  }
}
