import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import { SallyportError } from '@sallyport/sdk';
import type { ClientCertificateSpec } from './client-certificate-spec.ts';
import { decodeCertificates } from './upstream-trust.ts';

/** No certificate or key comes near this. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Each marks a private key in PEM (RFC 7468 sections 10 and 11, and the older forms of OpenSSL). */
const PRIVATE_KEY = /-----BEGIN (?:[A-Z0-9]{1,12} )?PRIVATE KEY-----/;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** A client certificate as {@link ClientCertificate.save} gives it out: plain JSON, and its key is a secret. */
export interface SavedClientCertificate {
  readonly host: string;
  readonly port: number;
  readonly origin: string;
  /** PEM: the certificate and what stands between it and its authority. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

/** A certificate, with its private key, by which the gate proves at one upstream who it is. The key is in no property, so in no output. */
export class ClientCertificate {
  /** Canonical. */
  readonly host: string;
  readonly port: number;
  /** The option, as messages name it. */
  readonly origin: string;
  readonly #identity: { readonly cert: string; readonly key: string };
  #context: SecureContext | undefined;

  constructor({ host, port, origin, cert, key }: SavedClientCertificate) {
    this.host = host;
    this.port = port;
    this.origin = origin;
    this.#identity = { cert, key };
  }

  /** All of it, the key included: for nobody but who encrypts it. */
  save(): SavedClientCertificate {
    return { host: this.host, port: this.port, origin: this.origin, ...this.#identity };
  }

  /** The client-side context for connections to this host: TLS 1.2 and up, with these roots and this certificate. Made on first use. */
  context(roots: string): SecureContext {
    this.#context ??= createSecureContext({ ...this.#identity, ca: roots, minVersion: 'TLSv1.2' });
    return this.#context;
  }
}

/**
 * Reads and checks what `--client-cert` names: PEM, the host's certificate first, the key unencrypted.
 *
 * @param nowMs the time at which the certificates have to be valid, ms since 1970.
 * @throws SallyportError UNREADABLE_FILE, or INVALID_CLIENT_CERTIFICATE for what is malformed, encrypted, expired or does not fit together.
 */
export async function loadClientCertificate(spec: ClientCertificateSpec, nowMs: number): Promise<ClientCertificate> {
  const certificateText = await readText(spec, spec.certificateFile);
  // Once: the file can be a pipe.
  const keyText = spec.keyFile === spec.certificateFile ? certificateText : await readText(spec, spec.keyFile);
  const chain = readCertificates(spec, certificateText);
  const key = readKey(spec, keyText);
  const [leaf] = chain;
  if (leaf === undefined) throw new TypeError('a chain of certificates is empty');
  if (!leaf.checkPrivateKey(key)) {
    const isLater = chain.slice(1).some((certificate) => certificate.checkPrivateKey(key));
    throw refuse(
      spec,
      isLater
        ? `the key belongs to a later certificate of ${JSON.stringify(spec.certificateFile)}; put that one first`
        : `the key in ${JSON.stringify(spec.keyFile)} does not belong to the certificate in ${JSON.stringify(spec.certificateFile)}`,
    );
  }
  for (const [index, certificate] of chain.entries()) checkDates(spec, certificate, index, nowMs);
  const identity = {
    cert: chain.map((certificate) => certificate.toString()).join(''),
    key: key.export({ type: 'pkcs8', format: 'pem' }),
  };
  try {
    createSecureContext(identity);
  } catch (error) {
    throw refuse(
      spec,
      `OpenSSL does not take the certificate or its key (${codeOf(error)}); a larger key may be wanted`,
    );
  }
  return new ClientCertificate({ host: spec.host, port: spec.port, origin: spec.origin, ...identity });
}

function readCertificates(spec: ClientCertificateSpec, text: string): X509Certificate[] {
  const file = JSON.stringify(spec.certificateFile);
  const certificates = decodeCertificates(text);
  if (certificates.length === 0) {
    throw refuse(
      spec,
      `${file} holds no certificate in PEM; convert it, for instance a PKCS#12 file with: openssl pkcs12 -in FILE -noenc -out client.pem`,
    );
  }
  return certificates.map((certificate, index) => {
    try {
      return new X509Certificate(certificate);
    } catch {
      throw refuse(spec, `certificate ${index + 1} of ${certificates.length} in ${file} is damaged; export it again`);
    }
  });
}

/** The causes of these failures are left out: they belong to a text that holds a key. */
function readKey(spec: ClientCertificateSpec, text: string): KeyObject {
  const file = JSON.stringify(spec.keyFile);
  if (ENCRYPTED_KEY.test(text)) {
    throw refuse(
      spec,
      `the private key in ${file} is encrypted; give an unencrypted copy that only you can read: openssl pkey -in FILE -out FILE.plain`,
    );
  }
  if (!PRIVATE_KEY.test(text)) {
    throw refuse(
      spec,
      `${file} holds no private key in PEM; name the file that does: --client-cert HOST=CERT_FILE,KEY_FILE`,
    );
  }
  try {
    return createPrivateKey(text);
  } catch {
    throw refuse(spec, `the private key in ${file} is damaged, or of a kind that is not known; export it again`);
  }
}

function checkDates(spec: ClientCertificateSpec, certificate: X509Certificate, index: number, nowMs: number): void {
  const which = index === 0 ? 'the certificate' : `certificate ${index + 1}`;
  const file = JSON.stringify(spec.certificateFile);
  if (nowMs > certificate.validToDate.getTime()) {
    throw refuse(spec, `${which} in ${file} expired at ${certificate.validToDate.toISOString()}; get a new one`);
  }
  if (nowMs < certificate.validFromDate.getTime()) {
    throw refuse(
      spec,
      `${which} in ${file} is valid only from ${certificate.validFromDate.toISOString()}; check this machine's clock`,
    );
  }
}

async function readText(spec: ClientCertificateSpec, path: string): Promise<string> {
  let text: string | null;
  try {
    text = await readBounded(path);
  } catch (error) {
    throw new SallyportError(
      'UNREADABLE_FILE',
      `${spec.origin}: ${JSON.stringify(path)} cannot be read (${codeOf(error)}). Check the path and its permissions.`,
    );
  }
  if (text === null) throw refuse(spec, `${JSON.stringify(path)} has more than ${MAX_FILE_BYTES} bytes`);
  return text;
}

/** The text of a file or pipe; null where it is longer than any certificate. */
async function readBounded(path: string): Promise<string | null> {
  await using file = await open(path, 'r');
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, null);
    length += bytesRead;
    if (bytesRead === 0) return bytes.toString('latin1', 0, length);
    if (length > MAX_FILE_BYTES) return null;
  }
}

function refuse(spec: ClientCertificateSpec, why: string): SallyportError {
  return new SallyportError('INVALID_CLIENT_CERTIFICATE', `${spec.origin}: ${why}.`);
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown error';
}
