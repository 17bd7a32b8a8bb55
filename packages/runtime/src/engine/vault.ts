import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import { runInside } from '../airlock/holder.ts';
import type { Holder } from '../airlock/holder.ts';
import type { RedactionRule } from '../secrets/redact.ts';
import { sealValues, unsealValues } from '../secrets/secret-set-sealing.ts';
import type { SecretValue } from '../secrets/secret-value.ts';
import type { SavedAuthority } from '../tls/certificate-authority.ts';
import type { SavedClientCertificate } from '../tls/client-certificate.ts';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where the key lies: in memory, in the mount namespace of the sandbox's holder, which no container sees; it ends with the sandbox. */
const KEY_FILE = '/run/vault-key';

/** What a vault holds. */
export interface VaultContent {
  /** The values of each secret, the present one first. */
  readonly values: readonly RedactionRule[];
  /** The values of the sandbox's own secrets. */
  readonly own: ReadonlyMap<string, SecretValue>;
  readonly authority: SavedAuthority;
  /** What the gate shows upstreams; with their keys. */
  readonly clientCertificates: readonly SavedClientCertificate[];
}

/** What lies beside the values. A vault of a former version has no client certificates. */
type Attachment = SavedAuthority & Partial<Pick<VaultContent, 'clientCertificates'>>;

/**
 * What a sandbox must not lose when the daemon ends, and nobody may read: encrypted in a file, with a key that is nowhere but in the memory
 * of the running sandbox's holder. See docs/adr/0010.
 */
export class Vault {
  readonly #file: string;
  readonly #key: Buffer;

  private constructor(file: string, key: Buffer) {
    this.#file = file;
    this.#key = key;
  }

  /** Makes a key for a sandbox that has just been opened. @throws SallyportError SANDBOX_FAILED when it cannot be put there. */
  static async create(file: string, holder: Holder): Promise<Vault> {
    const key = randomBytes(KEY_BYTES);
    const program = `umask 077 && cat > ${KEY_FILE}`;
    const { status } = await runInside(holder, ['/bin/sh', '-c', program], { input: key.toString('base64') });
    if (status !== 0)
      throw new SallyportError('SANDBOX_FAILED', "The key of the sandbox's vault could not be written.");
    return new Vault(file, key);
  }

  /** Finds the key of a sandbox that runs. @throws SallyportError SECRET_VALUE_LOST when it is not there. */
  static open(file: string, holder: Holder): Vault {
    let key: Buffer;
    try {
      key = Buffer.from(readFileSync(`/proc/${holder.pid}/root${KEY_FILE}`, 'latin1'), 'base64');
    } catch {
      throw lost();
    }
    if (key.length !== KEY_BYTES) throw lost();
    return new Vault(file, key);
  }

  /** Writes the content in place of the former; in force when it returns. */
  write({ values, own, authority, clientCertificates }: VaultContent): void {
    const attachment: Attachment = { ...authority, clientCertificates };
    const sealed = sealValues({ rules: values, own }, attachment, (text) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, this.#key, nonce);
      return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    });
    replaceFile(this.#file, sealed);
  }

  /** @throws SallyportError SECRET_VALUE_LOST when there is nothing that this key opens. */
  read(): VaultContent {
    let text: string;
    try {
      const sealed = readFileSync(this.#file);
      const decipher = createDecipheriv(CIPHER, this.#key, sealed.subarray(0, NONCE_BYTES));
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
      const content = sealed.subarray(NONCE_BYTES, -TAG_BYTES);
      text = Buffer.concat([decipher.update(content), decipher.final()]).toString('utf8');
    } catch {
      throw lost();
    }
    const { rules, own, attachment } = unsealValues(text);
    const { clientCertificates = [], ...authority } = attachment as Attachment;
    return { values: rules, own, authority, clientCertificates };
  }

  /** Removes the file of a sandbox that has ended; without the key it is noise anyway. */
  static remove(file: string): void {
    rmSync(file, { force: true });
  }
}

function lost(): SallyportError {
  return new SallyportError(
    'SECRET_VALUE_LOST',
    "The values of the sandbox's secrets are lost. Stop the sandbox and start it again, with its secrets set anew.",
  );
}

/**
 * Replaces a file as a whole: when this process ends at any moment it is the old one or the new one. A power failure takes the key as well, so
 * there is nothing to wait for the disk for.
 */
function replaceFile(file: string, content: Buffer): void {
  const temporary = `${file}.new`;
  writeFileSync(temporary, content, { mode: 0o600 });
  renameSync(temporary, file);
}
