import { encodeRequestFields } from '../http/encoder.ts';
import type { Framing } from '../http/framing.ts';
import { keepsAlive } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { ServiceUse } from '../secrets/bound-service.ts';
import { hasParameter, parametersOf } from '../secrets/substitute-service.ts';
import type { ForwardVerdict, RequestContext } from './request-rewrite.ts';

/** What the fields of a request lead to, whatever its request line says. Nothing of it may be changed. */
export interface FieldsWork {
  /** The fields as they are sent, frozen. */
  readonly outgoing: string[];
  /** The same, as `encodeRequestFields` writes them. */
  readonly section: string;
  readonly framing: Framing;
  /** The secrets that were put in where their placeholders stand. */
  readonly bound: readonly BoundSecret[];
  /** The services by whose endpoints they were overwritten. */
  readonly endpoints: readonly ServiceUse[];
  /** The query parameters that are the services' own. */
  readonly parameters: ReadonlySet<string>;
  readonly guards: ForwardVerdict['guards'];
  readonly released: string[];
  readonly stray: string[];
  /** Whether the client lets its connection go on. */
  readonly keepsAlive: boolean;
}

/**
 * Remembers, for one client's connection, what was made of its last field section.
 *
 * It is a pure function of the fields, the gate's context and the connection's origin. All three are compared by identity: `RequestHeads`
 * gives the same array for the same bytes, and a context never changes.
 */
export class RepeatedFields {
  #fields: readonly string[] | null = null;
  #context: RequestContext | null = null;
  #origin: Authority | null = null;
  #work: FieldsWork | null = null;

  /** What was made of the fields of this head before; null where nothing is known. */
  recall(context: RequestContext, origin: Authority, head: RequestHead): FieldsWork | null {
    return this.#isSame(context, origin, head) ? this.#work : null;
  }

  /** Remembers what was made of a head's fields, once they have come a second time: clients that change them each time pay nothing for it. */
  keep(
    context: RequestContext,
    origin: Authority,
    head: RequestHead,
    verdict: ForwardVerdict,
    endpoints: readonly ServiceUse[],
  ): void {
    if (!this.#isSame(context, origin, head)) {
      this.#fields = head.fields;
      this.#context = context;
      this.#origin = origin;
      this.#work = null;
      return;
    }
    const parameters = parametersOf(endpoints);
    if (hasParameter(head.target, parameters)) return;
    const { fields } = verdict.head;
    try {
      this.#work = {
        outgoing: Object.freeze(fields) as string[],
        section: encodeRequestFields(fields),
        framing: verdict.framing,
        bound: verdict.bound,
        endpoints,
        parameters,
        guards: verdict.guards,
        released: Object.freeze(verdict.released) as string[],
        stray: Object.freeze(verdict.stray) as string[],
        keepsAlive: keepsAlive(head),
      };
    } catch (error) {
      // Whoever sends the request will be told.
      if (!(error instanceof HttpSyntaxError)) throw error;
    }
  }

  /** Forgets everything: it holds values, and the gate's context. */
  forget(): void {
    this.#fields = null;
    this.#context = null;
    this.#origin = null;
    this.#work = null;
  }

  #isSame(context: RequestContext, origin: Authority, head: RequestHead): boolean {
    return this.#fields === head.fields && this.#context === context && this.#origin === origin;
  }
}
