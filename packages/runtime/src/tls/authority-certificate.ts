import { execFile } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';

/** The authority outlives every sandbox; its key dies with the process. */
const AUTHORITY_LIFE_DAYS = 3650;
/** The upper bound of a common name, RFC 5280 appendix A (`ub-common-name`), in characters. */
const MAX_COMMON_NAME_LENGTH = 64;
/** It takes 10 ms. */
const TIMEOUT_MS = 30_000;
const MAX_REASON_LENGTH = 500;

/** A certificate that is signed by itself, and its key. */
export interface AuthorityCertificate {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

/**
 * Has OpenSSL's command make a key (P-256) and a certificate that signs leaves and no other authority. Both come by its standard output,
 * which is a socket to this process: the key is in no file, argument or environment.
 *
 * @param openssl the path of the command, version 3 or newer
 * @param commonName cut to 64 characters
 * @throws SallyportError INTERNAL when the command fails
 */
export async function makeAuthorityCertificate(openssl: string, commonName: string): Promise<AuthorityCertificate> {
  // A backslash before it takes from a character whatever it means in this notation.
  const name = commonName.slice(0, MAX_COMMON_NAME_LENGTH).replaceAll(/[\\/+]/g, String.raw`\$&`);
  const output = await run(openssl, [
    ...['req', '-x509', '-sha256', '-days', String(AUTHORITY_LIFE_DAYS), '-utf8', '-subj', `/O=Sallyport/CN=${name}`],
    // The key goes to the standard output where neither an option nor a configuration names a file.
    ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-config', '/dev/null'],
    ...['-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ...['-addext', 'subjectKeyIdentifier=hash'],
  ]);
  try {
    const [certificate, key] = [new X509Certificate(output), createPrivateKey(output)];
    if (certificate.checkPrivateKey(key)) return { certificate, key };
  } catch {
    // The reason is of no use: it is about bytes that may be a key.
  }
  throw failure('its output is not understood');
}

function run(command: string, args: readonly string[]): Promise<Buffer> {
  const options = { encoding: 'buffer', timeout: TIMEOUT_MS, env: { LC_ALL: 'C' }, cwd: '/' } as const;
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(failure(stderr.toString('latin1').trim() || String(error.code ?? error.signal)));
    });
  });
}

function failure(reason: string): SallyportError {
  return new SallyportError(
    'INTERNAL',
    `The command "openssl" made no certificate authority: ${JSON.stringify(reason.slice(0, MAX_REASON_LENGTH))}. ` +
      'See what "openssl version" says: 3.0 or newer is needed.',
  );
}
