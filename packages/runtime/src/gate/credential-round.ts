import { mergeNames } from './record.ts';
import type { ConnectionPurpose } from './client-connection.ts';
import type { GateContext } from './gate-context.ts';
import type { Problem } from './problem.ts';
import type { ForwardVerdict } from './request-rewrite.ts';
import { signRequest } from './request-signature.ts';

/** What the client is told when values have not come in time. */
const SECRET_TIMED_OUT: Problem = {
  status: 502,
  code: 'SECRET_UNAVAILABLE',
  detail: 'The value of a secret that this request needs did not come within the time limit.',
  remedy: 'Look on the host what keeps its source busy: sallyport secret test NAME',
};

/** The exchange that waits. Nothing of this is called when it has ended. */
export interface CredentialSteps {
  /** It waits from here on: nothing more of the request is read. */
  readonly waits: () => void;
  /** The values are at hand: the request is rewritten, for the first time or once more, by the newest secrets. */
  readonly goOn: (context: GateContext) => void;
  readonly refuse: (problem: Problem, decision: 'deny' | 'error') => void;
  /** The attempt that got the 401 is forgotten; `goOn` follows. */
  readonly startOver: () => void;
  /** The 401 that was held back is the answer. */
  readonly passOn: () => void;
}

/** What a request waits for because of its credentials, whatever protocol it came by: values, a signature, and what becomes of a 401. */
export class CredentialRound {
  readonly #client: { readonly context: GateContext; readonly purpose: ConnectionPurpose };
  readonly #steps: CredentialSteps;
  #waitsFor: 'values' | 'verdict' | null = null;
  /** The request has been, or is being, sent once more. */
  #isRepetition = false;
  #isOver = false;

  /** @param client `context` is the newest one. */
  constructor(client: { readonly context: GateContext; readonly purpose: ConnectionPurpose }, steps: CredentialSteps) {
    this.#client = client;
    this.#steps = steps;
  }

  /** Whether nothing of the request goes on for now. */
  get isWaiting(): boolean {
    return this.#waitsFor !== null;
  }

  get isRepetition(): boolean {
    return this.#isRepetition;
  }

  /** Has values fetched that are not at hand; false when all are, and nothing is waited for. */
  awaitValues(): boolean {
    const { context, purpose } = this.#client;
    const fetching = context.provider?.prepare(purpose.origin) ?? null;
    if (fetching === null) return false;
    this.#waitsFor = 'values';
    this.#steps.waits();
    const settle = (problem: Problem | null): void => {
      if (this.#isOver || this.#waitsFor !== 'values') return;
      this.#waitsFor = null;
      // By the newest secrets: what is put in is also what is redacted.
      if (problem === null) this.#steps.goOn(this.#client.context);
      else this.#steps.refuse(problem, 'error');
    };
    fetching.then(settle, () => settle({ status: 500, code: 'INTERNAL', detail: 'The values could not be fetched.' }));
    return true;
  }

  /** Signs the request where it has to be; `signed` gets the head as it is sent, and the names of all that was put in. */
  sign(
    context: GateContext,
    verdict: ForwardVerdict,
    bodySha256: string | null,
    released: string[],
    signed: (head: ForwardVerdict['head'], released: string[]) => void,
  ): void {
    const { signing, head } = verdict;
    if (signing === null) {
      signed(head, released);
      return;
    }
    void signRequest(context, verdict, head, bodySha256).then((result) => {
      if (this.#isOver) return;
      if (result.verdict === 'signed') {
        signed({ ...result.head, fields: [...result.head.fields] }, mergeNames(released, [signing.service]));
      } else this.#steps.refuse(result.problem, result.problem.code === 'INTERNAL' ? 'error' : 'deny');
    });
  }

  /**
   * The upstream answers 401. Whether that is held back, because the request may be sent once more with a credential that is fetched anew.
   *
   * @param context by which the request was sent.
   * @param released names of the secrets that the request has.
   * @param isRepeatable whether it can be sent once more safely.
   */
  holds401(context: GateContext, released: readonly string[], isRepeatable: boolean): boolean {
    const { provider, secrets } = this.#client.context;
    if (provider === null || this.#isRepetition || released.length === 0) return false;
    this.#isRepetition = true;
    // What was refused may have been replaced meanwhile: nothing is to be fetched then, and the value in force has been refused by nobody.
    const refused = secrets === context.secrets ? provider.refused(released) : Promise.resolve(true);
    if (!isRepeatable) {
      refused.catch(() => undefined);
      return false;
    }
    this.#waitsFor = 'verdict';
    this.#steps.waits();
    const settle = (isWorthwhile: boolean): void => {
      if (this.#isOver || this.#waitsFor !== 'verdict') return;
      this.#waitsFor = null;
      if (!isWorthwhile) {
        this.#steps.passOn();
        return;
      }
      this.#steps.startOver();
      if (!this.awaitValues()) this.#steps.goOn(this.#client.context);
    };
    refused.then(settle, () => settle(false));
    return true;
  }

  /** The time limit of what is waited for has passed; false when that is something else. */
  expire(): boolean {
    const waitedFor = this.#waitsFor;
    this.#waitsFor = null;
    if (waitedFor === 'values') this.#steps.refuse(SECRET_TIMED_OUT, 'error');
    else if (waitedFor === 'verdict') this.#steps.passOn();
    return waitedFor !== null;
  }

  /** The exchange has ended. */
  close(): void {
    this.#isOver = true;
    this.#waitsFor = null;
  }
}
