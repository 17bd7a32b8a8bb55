import type { Session } from './session.ts';

/** What an attack is about; reports are grouped by it. */
export type Category =
  | 'control'
  | 'authority'
  | 'host-names'
  | 'smuggling'
  | 'http2'
  | 'reflection'
  | 'protocol'
  | 'placement'
  | 'exhaustion'
  | 'sandbox';

/**
 * A feature that an attack presumes. Without it the attack is reported as `unsupported`, never as passed.
 *
 * `redaction`: the gate takes values out of responses. `sandbox`: the client half runs where the untrusted program would.
 * `second-secret`: a second placeholder, whose value is bound to the unbound host.
 */
export type Need = 'redaction' | 'sandbox' | 'second-secret';

/** One attack: what it is as data, and how it is done. */
export interface Attack {
  /** Stable, kebab-case. */
  readonly id: string;
  readonly title: string;
  readonly category: Category;
  /** The paragraph that the gate would break, or where the attack was described. */
  readonly reference: string;
  /** What gets out where the attack works. */
  readonly leak: string;
  readonly needs?: readonly Need[];
  /** A finding is told, but no failure: a transformation that no gate can undo in general. */
  readonly informational?: boolean;
  /**
   * Does it. What leaked is found by the judge in what the upstreams and the client saw; the attack itself only adds what those cannot know.
   *
   * @throws Unsupported where the gate lacks the protocol.
   */
  readonly run: (session: Session) => Promise<void>;
}

/** How an attack ended; `pass` means that nothing leaked. */
export type Outcome = 'pass' | 'fail' | 'unsupported' | 'error';

/** The result of one attack. */
export interface AttackResult {
  readonly id: string;
  readonly title: string;
  readonly category: Category;
  readonly reference: string;
  readonly leak: string;
  readonly informational: boolean;
  readonly outcome: Outcome;
  /** What was seen where; never a value. */
  readonly evidence: readonly string[];
  readonly milliseconds: number;
}

/** Thrown by an attack whose protocol or feature the gate lacks. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}
