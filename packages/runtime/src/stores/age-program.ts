import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';

/** What is asked of age. Texts that are secret are in here, so it goes to the thread and nowhere else. */
export type AgeRequest =
  /** Makes a key, and its file, closed with a passphrase or not. */
  | { readonly kind: 'generate'; readonly passphrase: string | null }
  /** Reads a key file. */
  | { readonly kind: 'open'; readonly file: Uint8Array; readonly passphrase: string | null }
  | { readonly kind: 'encrypt'; readonly recipient: string; readonly plaintext: Uint8Array }
  | { readonly kind: 'decrypt'; readonly identity: string; readonly ciphertext: Uint8Array };

/** A key: what opens files, and what they are closed with. */
export interface AgeKey {
  readonly identity: string;
  readonly recipient: string;
}

/** What came of it. `damaged` and `refused` (a wrong passphrase, another key) are no failures of age. */
export type AgeResult =
  | { readonly kind: 'key'; readonly key: AgeKey; readonly file: Uint8Array }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'refused' }
  | { readonly kind: 'damaged' };

/** As the library has it, which knows no other way to tell. */
const NO_MATCH = "no identity matched any of the file's recipients";

/** Does what is asked, by the library. */
export async function runAge(request: AgeRequest): Promise<AgeResult> {
  switch (request.kind) {
    case 'generate': {
      const identity = await generateX25519Identity();
      const recipient = await identityToRecipient(identity);
      const text = `# public key: ${recipient}\n${identity}\n`;
      const file = request.passphrase === null ? encode(text) : await close(text, request.passphrase);
      return { kind: 'key', key: { identity, recipient }, file };
    }
    case 'open':
      return await openKeyFile(request.file, request.passphrase);
    case 'encrypt': {
      const encrypter = new Encrypter();
      encrypter.addRecipient(request.recipient);
      const bytes = await encrypter.encrypt(request.plaintext);
      request.plaintext.fill(0);
      return { kind: 'bytes', bytes };
    }
    case 'decrypt': {
      const decrypter = new Decrypter();
      decrypter.addIdentity(request.identity);
      return await decrypt(decrypter, request.ciphertext);
    }
  }
}

async function close(text: string, passphrase: string): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  return await encrypter.encrypt(text);
}

async function openKeyFile(file: Uint8Array, passphrase: string | null): Promise<AgeResult> {
  let content = file;
  if (passphrase !== null) {
    const decrypter = new Decrypter();
    decrypter.addPassphrase(passphrase);
    const opened = await decrypt(decrypter, file);
    if (opened.kind !== 'bytes') return opened;
    content = opened.bytes;
  }
  const lines = new TextDecoder().decode(content).split('\n');
  const [identity, ...others] = lines.filter((line) => line.trim() !== '' && !line.startsWith('#'));
  if (identity === undefined || others.length > 0) return { kind: 'damaged' };
  try {
    return { kind: 'key', key: { identity, recipient: await identityToRecipient(identity) }, file };
  } catch {
    return { kind: 'damaged' };
  }
}

async function decrypt(decrypter: Decrypter, ciphertext: Uint8Array): Promise<AgeResult> {
  try {
    return { kind: 'bytes', bytes: await decrypter.decrypt(ciphertext) };
  } catch (error) {
    return { kind: error instanceof Error && error.message === NO_MATCH ? 'refused' : 'damaged' };
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
