import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, getCACertificates } from 'node:tls';
import type { SecureContext } from 'node:tls';

import { SallyportError } from '@sallyport/sdk';

/** Where distributions keep the bundle of all roots: Debian and Ubuntu, Fedora and RHEL, openSUSE, Alpine. The first that exists counts. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
] as const;

/** No bundle of roots comes near this. */
const MAX_BUNDLE_BYTES = 16 * 1024 * 1024;

const BEGIN = '-----BEGIN CERTIFICATE-----';
const END = '-----END CERTIFICATE-----';

/**
 * What upstream servers are verified against: the roots of the system and those that the operator added.
 *
 * Nothing of it comes from the environment: `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE` and `NODE_TLS_REJECT_UNAUTHORIZED` are not read here.
 * (The last one acts inside Node on connections that do not say `rejectUnauthorized: true`: a caller has to say it.)
 */
export class UpstreamTrust {
  /** Where the system's roots came from: a file, or `node` for those that Node brings. */
  readonly source: string;
  /** The system's roots as PEM. */
  readonly systemPem: string;
  /** The operator's own roots as PEM; empty if there are none. */
  readonly extraPem: string;
  #context: SecureContext | undefined;

  constructor(options: { source: string; systemPem: string; extraPem: string }) {
    this.source = options.source;
    this.systemPem = options.systemPem;
    this.extraPem = options.extraPem;
  }

  /** All roots in one PEM text. */
  get pem(): string {
    return this.extraPem + this.systemPem;
  }

  /**
   * The client-side context for every upstream connection: TLS 1.2 and up, these roots alone.
   *
   * Made on first use and then kept. That blocks for about 10 ms with 140 roots (OpenSSL decodes each; one PEM text or many makes no
   * difference): ask for it while the sandbox is starting and the process waits anyway.
   */
  context(): SecureContext {
    this.#context ??= createSecureContext({ ca: this.pem, minVersion: 'TLSv1.2' });
    return this.#context;
  }
}

/**
 * Reads the system's roots and the operator's files (`--upstream-ca`; PEM, one or more certificates each).
 *
 * @param options.extraCaFiles paths as the operator gave them
 * @param options.systemBundles where to look for the system's roots; default: the places of the known distributions
 * @throws SallyportError UNREADABLE_FILE if one of `extraCaFiles` cannot be read or has no certificate, or a broken one
 */
export async function loadUpstreamTrust(options: {
  extraCaFiles: readonly string[];
  systemBundles?: readonly string[];
}): Promise<UpstreamTrust> {
  const [system, ...extra] = await Promise.all([
    readSystemRoots(options.systemBundles ?? SYSTEM_BUNDLES),
    ...options.extraCaFiles.map(readExtraRoots),
  ]);
  return new UpstreamTrust({ ...system, extraPem: extra.join('') });
}

/** Takes the certificates out of a PEM text, as DER, in order; whatever is between them (names, comments, keys) is skipped. */
export function decodeCertificates(pem: string): Buffer[] {
  const certificates: Buffer[] = [];
  for (let from = pem.indexOf(BEGIN); from >= 0; from = pem.indexOf(BEGIN, from)) {
    const end = pem.indexOf(END, from);
    if (end < 0) {
      break;
    }
    certificates.push(Buffer.from(pem.slice(from + BEGIN.length, end), 'base64'));
    from = end + END.length;
  }
  return certificates;
}

async function readSystemRoots(bundles: readonly string[]): Promise<{ source: string; systemPem: string }> {
  for (const path of bundles) {
    const pem = await readFile(path, 'latin1').catch(() => '');
    if (pem.includes(BEGIN)) {
      return { source: path, systemPem: endWithNewline(pem) };
    }
  }
  return { source: 'node', systemPem: endWithNewline(getCACertificates('bundled').join('\n')) };
}

async function readExtraRoots(path: string): Promise<string> {
  const name = JSON.stringify(path);
  let pem: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_BUNDLE_BYTES) {
      throw new SallyportError(
        'UNREADABLE_FILE',
        `The CA file ${name} has ${size} bytes, more than the ${MAX_BUNDLE_BYTES} that are read; give a PEM file with the certificates that are needed`,
      );
    }
    pem = await readFile(path, 'latin1');
  } catch (error) {
    if (error instanceof SallyportError) {
      throw error;
    }
    throw new SallyportError(
      'UNREADABLE_FILE',
      `The CA file ${name} could not be read (${codeOf(error)}); check the path and its permissions`,
      { cause: error },
    );
  }
  const certificates = decodeCertificates(pem);
  if (certificates.length === 0) {
    throw new SallyportError(
      'UNREADABLE_FILE',
      `The CA file ${name} holds no certificate in PEM ("${BEGIN}"); convert it, for instance with: openssl x509 -inform der -in FILE`,
    );
  }
  for (const [index, certificate] of certificates.entries()) {
    try {
      void new X509Certificate(certificate);
    } catch (error) {
      throw new SallyportError(
        'UNREADABLE_FILE',
        `Certificate ${index + 1} of ${certificates.length} in the CA file ${name} is damaged; export it again`,
        { cause: error },
      );
    }
  }
  return endWithNewline(pem);
}

function endWithNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown error';
}
