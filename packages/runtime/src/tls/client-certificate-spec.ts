import { isAbsolute, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { formatHostAndPort } from '../policy/host-name.ts';
import { readHostPattern } from '../policy/host-pattern.ts';

/** What `--client-cert` asks for: nothing has been read yet. */
export interface ClientCertificateSpec {
  /** Canonical; one host, never a pattern. */
  readonly host: string;
  readonly port: number;
  /** The option as messages and audit events name it, without its files: `--client-cert api.example.com`. */
  readonly origin: string;
  /** Absolute path of the certificate, and of what stands between it and its authority. */
  readonly certificateFile: string;
  /** Absolute path of the private key; the same file where both are in one. */
  readonly keyFile: string;
}

const HOW = 'Write --client-cert HOST=CERT_FILE,KEY_FILE, or HOST=FILE where both are in one file.';

/**
 * Reads one value of `--client-cert`: `HOST[:PORT]=CERT_FILE[,KEY_FILE]`. Relative paths start at `directory`.
 *
 * @throws SallyportError INVALID_CLIENT_CERTIFICATE, or INVALID_HOST_PATTERN for the host.
 */
export function parseClientCertificate(text: string, directory: string): ClientCertificateSpec {
  const split = text.indexOf('=');
  if (split < 0) {
    throw new SallyportError('INVALID_CLIENT_CERTIFICATE', `--client-cert has no "=" after the host. ${HOW}`);
  }
  const files = text.slice(split + 1).split(',');
  const [certificateFile = '', keyFile = certificateFile] = files;
  const isTooMany = files.length > 2;
  const absolute = (path: string): string => (isAbsolute(path) || path === '' ? path : resolve(directory, path));
  const spec = bindClientCertificate(text.slice(0, split), absolute(certificateFile), absolute(keyFile));
  if (!isTooMany) return spec;
  throw new SallyportError('INVALID_CLIENT_CERTIFICATE', `${spec.origin}: there are more than two files. ${HOW}`);
}

/**
 * Binds the certificate and key in these files, whose paths are absolute, to `HOST[:PORT]`.
 *
 * @throws SallyportError as {@link parseClientCertificate}.
 */
export function bindClientCertificate(
  hostAndPort: string,
  certificateFile: string,
  keyFile: string,
): ClientCertificateSpec {
  const reading = readHostPattern(hostAndPort, 'secret');
  if ('problem' in reading) {
    throw new SallyportError('INVALID_HOST_PATTERN', `--client-cert, its host: ${reading.problem}. ${HOW}`);
  }
  const { pattern } = reading;
  if (pattern.kind !== 'exact') {
    throw new SallyportError(
      'INVALID_HOST_PATTERN',
      `--client-cert ${pattern.text}: a certificate belongs to one host, not to a pattern. Name each host.`,
    );
  }
  const { host, port = 443 } = pattern;
  const origin = `--client-cert ${pattern.text}`;
  if (port === 80) {
    throw new SallyportError(
      'INVALID_HOST_PATTERN',
      `${origin}: port 80 is cleartext, where there are no certificates. Name another port, or none for 443.`,
    );
  }
  if (certificateFile === '' || keyFile === '') {
    throw new SallyportError('INVALID_CLIENT_CERTIFICATE', `${origin}: a file name is empty. ${HOW}`);
  }
  return { host, port, origin, certificateFile, keyFile };
}

/**
 * Refuses two certificates for one host and port.
 *
 * @throws SallyportError INVALID_CLIENT_CERTIFICATE.
 */
export function refuseTwoCertificates(specs: readonly ClientCertificateSpec[]): void {
  const seen = new Set<string>();
  for (const { host, port } of specs) {
    const key = formatHostAndPort(host, port);
    if (seen.has(key)) {
      throw new SallyportError(
        'INVALID_CLIENT_CERTIFICATE',
        `--client-cert names ${key} twice. Keep one certificate for it.`,
      );
    }
    seen.add(key);
  }
}
