import { homedir } from 'node:os';
import { join } from 'node:path';
import { FileSource } from './file-source.ts';
import { finishValue, sourceFailed } from './fetched-value.ts';
import { asObject, parseObject, sendRequest, textMember, type SourceAnswer } from './http-request.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

/** Within one host: a proxy before Vault may add a slash or a prefix. */
const MAX_REDIRECTS = 2;

/** Where Vault or OpenBao is, and who asks. */
interface VaultAccess {
  readonly address: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly authorityFile: string | undefined;
  readonly signal: AbortSignal;
  /** By `performance.now`: all requests of one fetch share one time limit. */
  readonly endMs: number;
}

/**
 * A value in a KV engine, version 1 or 2, of HashiCorp Vault or OpenBao.
 *
 * By the variables that their own clients read, `BAO_…` before `VAULT_…`: `ADDR`, `TOKEN` (else the file `~/.vault-token`), `NAMESPACE`, `CACERT`.
 * https://developer.hashicorp.com/vault/api-docs/secret/kv
 */
export class VaultSource implements ValueSource {
  readonly description: string;
  readonly #path: readonly string[];
  readonly #key: string;
  readonly #settings: ValueSourceSettings;

  constructor(
    reference: { readonly canonical: string; readonly path: readonly string[]; readonly key: string },
    settings: ValueSourceSettings,
  ) {
    this.description = reference.canonical;
    this.#path = reference.path;
    this.#key = reference.key;
    this.#settings = settings;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    const access = await this.#openAccess(signal);
    const mount = await this.#findMount(access);
    const inMount = this.#path.slice(mount.parts);
    if (inMount.length === 0) throw sourceFailed(`${this.description} names a mount of Vault, and no secret in it.`);
    const mountPath = this.#path.slice(0, mount.parts);
    const path = mount.version === 2 ? [...mountPath, 'data', ...inMount] : this.#path;
    const answer = await this.#ask(access, path);
    const hint = mount.version === 2 && inMount[0] === 'data' ? ' Leave out "data" behind the mount: it is added.' : '';
    if (answer.status === 404) throw sourceFailed(`Vault has nothing at ${this.description}.${hint}`);
    const data = asObject(this.#read(answer)['data']);
    const members = mount.version === 2 ? asObject(data?.['data']) : data;
    if (members === null) throw sourceFailed(`Vault has nothing at ${this.description}.${hint}`);
    return finishValue(
      Buffer.from(textMember(members, this.#key, `What Vault has at ${this.description}`)),
      this.description,
    );
  }

  /** What is to be said of how Vault is asked, as notices for people. */
  inspect(): readonly string[] {
    const text = this.#setting('ADDR');
    const url = text !== undefined && URL.canParse(text) ? new URL(text) : null;
    if (url?.protocol !== 'http:' || /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)) return [];
    return [`Vault at ${url.origin} is asked without TLS: whoever is on the way reads its token and its values.`];
  }

  #setting(name: string): string | undefined {
    const { environment } = this.#settings;
    // A variable that is empty counts as one that is not set, as for Vault's own clients.
    return environment[`BAO_${name}`] || environment[`VAULT_${name}`] || undefined;
  }

  async #openAccess(signal: AbortSignal): Promise<VaultAccess> {
    const text = this.#setting('ADDR');
    if (text === undefined) {
      throw sourceFailed(`${this.description} needs the address of Vault: set VAULT_ADDR, or BAO_ADDR for OpenBao.`);
    }
    const address = URL.canParse(text) ? new URL(text) : null;
    if (
      address === null ||
      !['http:', 'https:'].includes(address.protocol) ||
      address.username !== '' ||
      address.password !== ''
    ) {
      throw sourceFailed('VAULT_ADDR (or BAO_ADDR) is not a URL such as https://vault.example.com:8200.');
    }
    const namespace = this.#setting('NAMESPACE');
    return {
      address,
      headers: {
        Accept: 'application/json',
        // Agents of Vault refuse requests without it, so that nobody's request forgery reaches them.
        'X-Vault-Request': 'true',
        'X-Vault-Token': await this.#readToken(signal),
        ...(namespace === undefined ? {} : { 'X-Vault-Namespace': namespace }),
      },
      authorityFile: this.#setting('CACERT'),
      signal,
      endMs: performance.now() + this.#settings.timeLimitMs,
    };
  }

  async #readToken(signal: AbortSignal): Promise<string> {
    const given = this.#setting('TOKEN');
    let token = given;
    if (token === undefined) {
      const home = this.#settings.environment['HOME'] ?? homedir();
      const file = new FileSource(join(home, '.vault-token'), this.#settings);
      try {
        token = Buffer.from(await file.fetch(signal)).toString('utf8');
      } catch (error) {
        throw sourceFailed(
          `${this.description} needs a token of Vault: sign in by "vault login" (or "bao login"), which writes ~/.vault-token, or set VAULT_TOKEN.`,
          { cause: error },
        );
      }
    }
    token = token.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) throw sourceFailed('The token of Vault has characters that no token has.');
    return token;
  }

  /** How many parts of the path are the mount, and the version of its engine. */
  async #findMount(access: VaultAccess): Promise<{ parts: number; version: 1 | 2 }> {
    const answer = await this.#ask(access, ['sys', 'internal', 'ui', 'mounts', ...this.#path]);
    // Before Vault 0.10 there was neither this question nor version 2.
    if (answer.status === 404) return { parts: 1, version: 1 };
    const data = asObject(this.#read(answer)['data']);
    const path = data?.['path'];
    if (typeof path !== 'string') throw sourceFailed(`Vault does not say where ${this.description} lies.`);
    const mount = path.split('/').filter((part) => part !== '');
    if (mount.length === 0 || mount.some((part, index) => part !== this.#path[index])) {
      throw sourceFailed(`Vault says that ${this.description} lies elsewhere than it does.`);
    }
    return { parts: mount.length, version: asObject(data?.['options'])?.['version'] === '2' ? 2 : 1 };
  }

  async #ask(access: VaultAccess, path: readonly string[]): Promise<SourceAnswer> {
    const base = access.address.href.replace(/\/*(?:[?#].*)?$/, '');
    let url = new URL(`${base}/v1/${path.map((part) => encodeURIComponent(part)).join('/')}`);
    const subject = `Vault at ${access.address.origin}`;
    for (let redirects = 0; ; redirects += 1) {
      const timeLimitMs = Math.max(1, Math.ceil(access.endMs - performance.now()));
      const { headers, authorityFile, signal } = access;
      const answer = await sendRequest({ method: 'GET', url, headers, authorityFile, signal, timeLimitMs }, subject);
      if (answer.status < 300 || answer.status > 399) return answer;
      const target =
        answer.location === null || !URL.canParse(answer.location, url) ? null : new URL(answer.location, url);
      if (target !== null && target.origin !== access.address.origin) {
        throw sourceFailed(
          `${subject} sends on to ${JSON.stringify(target.origin)}, which the token is not given to. Where that is right, set VAULT_ADDR to it.`,
        );
      }
      if (target === null || redirects >= MAX_REDIRECTS)
        throw sourceFailed(`${subject} sends on to nowhere (status ${answer.status}).`);
      url = target;
    }
  }

  /** The object that Vault answered with. */
  #read({ status, body }: SourceAnswer): Readonly<Record<string, unknown>> {
    const text = body.toString('utf8');
    body.fill(0);
    if (status === 200) {
      const object = parseObject(text);
      if (object === null)
        throw sourceFailed('Vault answered with something else than a JSON object. Is VAULT_ADDR right?');
      return object;
    }
    if (status === 403) {
      throw sourceFailed(
        `Vault refused the token, or it may not read ${this.description}, or nothing is mounted there (status 403). Sign in anew, or ask for a policy.`,
      );
    }
    if (status === 503) throw sourceFailed('Vault is sealed, or down for maintenance (status 503).');
    throw sourceFailed(`Vault answered with status ${status} for ${this.description}.`);
  }
}
