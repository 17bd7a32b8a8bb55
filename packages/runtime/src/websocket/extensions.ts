import { WebSocketSyntaxError } from './websocket-syntax-error.ts';

/** The parameters of permessage-deflate (RFC 7692 section 7.1), as an offer or an answer has them. */
export interface DeflateParameters {
  readonly serverNoContextTakeover: boolean;
  readonly clientNoContextTakeover: boolean;
  /** From 8 to 15; null where absent. */
  readonly serverMaxWindowBits: number | null;
  /** From 8 to 15; `true` is an offer's parameter without a value; null where absent. */
  readonly clientMaxWindowBits: number | true | null;
}

/** Offers that are read; a client sends one or two. */
export const MAX_EXTENSION_OFFERS = 16;
/** Parameters of one offer that are read; permessage-deflate has four. */
export const MAX_EXTENSION_PARAMETERS = 16;

/** One member of Sec-WebSocket-Extensions (RFC 6455 section 9.1). */
interface Extension {
  readonly name: string;
  readonly parameters: readonly { readonly name: string; readonly value: string | null }[];
}

/**
 * Reduces what a client offers to what the gate can decode: its well-formed offers of permessage-deflate, in their order, in one
 * spelling. None at all is the empty string. Offers of anything else, or malformed ones, are left out, as a server would decline them.
 *
 * @param values the values of all Sec-WebSocket-Extensions lines.
 */
export function reduceExtensionOffers(values: readonly string[]): readonly DeflateParameters[] {
  const extensions = parseExtensions(values.join(','));
  if (extensions === null) return [];
  return extensions.flatMap((extension) => {
    if (extension.name !== 'permessage-deflate') return [];
    const parameters = readDeflateParameters(extension, 'offer');
    return parameters === null ? [] : [parameters];
  });
}

/**
 * Checks what a server accepted: nothing (null), or permessage-deflate once, offered and with parameters that answer one of the offers
 * (RFC 7692 section 7.1).
 *
 * @throws {WebSocketSyntaxError} `EXTENSIONS`
 */
export function checkAcceptedExtensions(
  values: readonly string[],
  offers: readonly DeflateParameters[],
): DeflateParameters | null {
  const extensions = parseExtensions(values.join(','));
  if (extensions === null) throw unaccepted('the server answers with malformed extensions');
  const [extension, ...others] = extensions;
  if (extension === undefined) return null;
  if (others.length > 0 || extension.name !== 'permessage-deflate' || offers.length === 0) {
    throw unaccepted('the server accepts an extension that was not offered');
  }
  const parameters = readDeflateParameters(extension, 'answer');
  if (parameters === null) throw unaccepted('the server answers with malformed parameters of permessage-deflate');
  if (!offers.some((offer) => answers(parameters, offer))) {
    throw unaccepted('the server answers with parameters of permessage-deflate that were not offered');
  }
  return parameters;
}

/** Prints parameters as a member of Sec-WebSocket-Extensions. */
export function formatDeflateParameters(parameters: DeflateParameters): string {
  const { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits } = parameters;
  let text = 'permessage-deflate';
  if (serverNoContextTakeover) text += '; server_no_context_takeover';
  if (clientNoContextTakeover) text += '; client_no_context_takeover';
  if (serverMaxWindowBits !== null) text += `; server_max_window_bits=${serverMaxWindowBits}`;
  if (clientMaxWindowBits === true) text += '; client_max_window_bits';
  else if (clientMaxWindowBits !== null) text += `; client_max_window_bits=${clientMaxWindowBits}`;
  return text;
}

function unaccepted(message: string): WebSocketSyntaxError {
  return new WebSocketSyntaxError('EXTENSIONS', message);
}

/** RFC 7692 sections 7.1.1.1 to 7.1.2.2: what an offer asks for must be granted, what it does not allow must not be used. */
function answers(answer: DeflateParameters, offer: DeflateParameters): boolean {
  if (offer.serverNoContextTakeover && !answer.serverNoContextTakeover) return false;
  if (offer.serverMaxWindowBits !== null) {
    if (answer.serverMaxWindowBits === null || answer.serverMaxWindowBits > offer.serverMaxWindowBits) return false;
  }
  return answer.clientMaxWindowBits === null || offer.clientMaxWindowBits !== null;
}

function readDeflateParameters(extension: Extension, role: 'offer' | 'answer'): DeflateParameters | null {
  let serverNoContextTakeover = false;
  let clientNoContextTakeover = false;
  let serverMaxWindowBits: number | null = null;
  let clientMaxWindowBits: number | true | null = null;
  const seen = new Set<string>();
  for (const { name, value } of extension.parameters) {
    if (seen.has(name)) return null;
    seen.add(name);
    switch (name) {
      case 'server_no_context_takeover':
        if (value !== null) return null;
        serverNoContextTakeover = true;
        break;
      case 'client_no_context_takeover':
        if (value !== null) return null;
        clientNoContextTakeover = true;
        break;
      case 'server_max_window_bits':
        serverMaxWindowBits = readWindowBits(value);
        if (serverMaxWindowBits === null) return null;
        break;
      case 'client_max_window_bits':
        clientMaxWindowBits = value === null && role === 'offer' ? true : readWindowBits(value);
        if (clientMaxWindowBits === null) return null;
        break;
      default:
        return null;
    }
  }
  return { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits };
}

function readWindowBits(value: string | null): number | null {
  if (value === null || !/^(?:8|9|1[0-5])$/.test(value)) return null;
  return Number(value);
}

/** Parses a list of extensions; null when it is malformed or too long. Names are tokens and compare as they are written. */
function parseExtensions(text: string): Extension[] | null {
  const extensions: Extension[] = [];
  const scanner = new Scanner(text);
  for (;;) {
    // RFC 9110 section 5.6.1.2: empty members are to be ignored.
    while (scanner.take(',')) continue;
    if (scanner.isDone) return extensions;
    const name = scanner.token();
    if (name === null || extensions.length === MAX_EXTENSION_OFFERS) return null;
    const parameters: { name: string; value: string | null }[] = [];
    while (scanner.take(';')) {
      const parameter = scanner.token();
      if (parameter === null || parameters.length === MAX_EXTENSION_PARAMETERS) return null;
      const hasValue = scanner.take('=');
      const value = hasValue ? scanner.value() : null;
      if (hasValue && value === null) return null;
      parameters.push({ name: parameter, value });
    }
    extensions.push({ name, parameters });
    if (!scanner.isDone && !scanner.take(',')) return null;
  }
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.#skipBlanks();
  }

  get isDone(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Takes one character and the white space after it. */
  take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    this.#skipBlanks();
    return true;
  }

  token(): string | null {
    const pattern = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
    pattern.lastIndex = this.#at;
    const [token] = pattern.exec(this.#text) ?? [];
    if (token === undefined) return null;
    this.#at += token.length;
    this.#skipBlanks();
    return token;
  }

  /** A token, or a quoted string that holds one (RFC 6455 section 9.1). */
  value(): string | null {
    if (this.#text[this.#at] !== '"') return this.token();
    const end = this.#text.indexOf('"', this.#at + 1);
    if (end < 0) return null;
    const inner = this.#text.slice(this.#at + 1, end);
    // A backslash would quote a character; no token needs that.
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(inner)) return null;
    this.#at = end + 1;
    this.#skipBlanks();
    return inner;
  }

  #skipBlanks(): void {
    while (this.#text[this.#at] === ' ' || this.#text[this.#at] === '\t') this.#at += 1;
  }
}
