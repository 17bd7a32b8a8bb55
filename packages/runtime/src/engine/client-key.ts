import { realpathSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import type { SecretHostRule } from '../policy/network-policy.ts';
import { PROGRAM_DIRECTORIES } from '../sandbox/root-file-system.ts';
import { isWithin } from '../sandbox/volumes.ts';
import type { ClientCertificateSpec } from '../tls/client-certificate-spec.ts';

/** A client certificate binds its host as a secret does: it allows the host over TLS, on its port, and no tunnel may exempt that. */
export function bindCertificate({
  host,
  port,
  origin,
}: Pick<ClientCertificateSpec, 'host' | 'port' | 'origin'>): SecretHostRule {
  return {
    host: { scheme: 'https', port, pattern: { kind: 'exact', host, port, text: origin.split(' ')[1] ?? host } },
    origin,
  };
}

/**
 * Refuses a key that every sandbox sees, because it lies among the host's programs. (Mounts are checked with all others.)
 *
 * @throws SallyportError INVALID_CLIENT_CERTIFICATE.
 */
export function refuseVisibleKey({ keyFile, origin }: ClientCertificateSpec): void {
  let real: string;
  try {
    real = realpathSync(keyFile);
  } catch {
    // Told by whoever reads it; a pipe has no path.
    return;
  }
  const seen = PROGRAM_DIRECTORIES.find((directory) => isWithin(real, directory));
  if (seen === undefined) return;
  throw new SallyportError(
    'INVALID_CLIENT_CERTIFICATE',
    `${origin}: the key ${JSON.stringify(keyFile)} lies in ${seen}, which every sandbox sees. Move it to a place that only you can read.`,
  );
}
