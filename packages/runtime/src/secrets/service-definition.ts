/** A variable of the sandbox that a service's clients read. */
export interface ServiceVariable {
  readonly name: string;
  /**
   * The template of what it holds: a value in the vendor's own key format, made by `fillSentinel`. `{rand}` stands for 22 random letters
   * and digits, `{base62:N}`, `{letters:N}`, `{hex:N}` and `{base32:N}` for N random characters of those alphabets.
   */
  readonly sentinel: string;
}

/** A place of a request that gets the credential, whatever stood there. `{value}` is the credential. */
export type Overwrite =
  /** The field is set to this text; it has lower case letters. */
  | { readonly kind: 'header'; readonly name: string; readonly text: string }
  /** `Authorization: Basic` with this user name, and the credential as the password. */
  | { readonly kind: 'basic'; readonly user: string }
  /** The query parameter is overwritten where the client sent it, and never added. */
  | { readonly kind: 'query'; readonly name: string }
  /**
   * Each of the WebSocket subprotocols that the client offers and that begin with this (browsers can send a key nowhere else) becomes
   * this and the credential. Never added.
   */
  | { readonly kind: 'subprotocol'; readonly prefix: string };

/** Hosts of a service that are treated alike. TLS only. */
export interface ServiceEndpoint {
  /** Host patterns, with `:port` where it is not 443. */
  readonly hosts: readonly string[];
  /** The paths that it is for, as globs of `../policy/path-glob.ts`; all where omitted. A service's first endpoint that fits counts. */
  readonly paths?: readonly string[];
  readonly overwrite: readonly Overwrite[];
  /** Fields (lower case) and query parameters that could carry a foreign key beside what is overwritten. They do not leave. */
  readonly strip: { readonly headers: readonly string[]; readonly query: readonly string[] };
  /** Signs requests instead of putting a text into them. */
  readonly signer?: 'aws';
}

/** A service of the catalogue, or of a kit. Plain data. */
export interface ServiceDefinition {
  /** Lower case, as `secret set` takes it. */
  readonly name: string;
  /** The vendor, for people. */
  readonly title: string;
  /** Variables of the host that a value is taken from, the first that is set; and of the sandbox, all of them. */
  readonly variables: readonly ServiceVariable[];
  readonly endpoints: readonly ServiceEndpoint[];
  /** The vendor's documentation of what is overwritten. */
  readonly documentation: readonly string[];
}
