import { X509Certificate } from 'node:crypto';
import { readFileSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { StagedFile } from './staged-files.ts';

/** Where distributions keep the bundle of all trusted roots; the first that exists is the system's. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
] as const;

/** The bundle inside: system roots and the sandbox's own CA. */
export const TRUST_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
const OWN_CA = '/etc/ssl/certs/sallyport-sandbox-ca.pem';
const JAVA_TRUST_STORE = '/etc/ssl/certs/java/cacerts';

/** Other names of the bundle: programs built for one distribution run on another. */
const BUNDLE_ALIASES = [
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/pki/tls/cert.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Managed policies of Chromium and Chrome, which read neither the bundle nor any variable. */
const BROWSER_POLICIES = [
  '/etc/chromium/policies/managed/sallyport.json',
  '/etc/opt/chrome/policies/managed/sallyport.json',
];

/** Every variable by which some client is told of a file with its trusted roots. */
export const BUNDLE_VARIABLES = [
  'SSL_CERT_FILE',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'AWS_CA_BUNDLE',
  'PIP_CERT',
  'CARGO_HTTP_CAINFO',
  'DENO_CERT',
  'NIX_SSL_CERT_FILE',
  'NIX_GIT_SSL_CAINFO',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
  'BUNDLE_SSL_CA_CERT',
  'HTTPLIB2_CA_CERTS',
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  'PERL_LWP_SSL_CA_FILE',
  'NPM_CONFIG_CAFILE',
  'YARN_HTTPS_CA_FILE_PATH',
] as const;

/** What makes real clients trust the gate. */
export interface TrustFiles {
  readonly files: readonly StagedFile[];
  readonly environment: Readonly<Record<string, string>>;
  /** Regular files of installed Java versions over which the trust store is to be mounted: staged name and path inside. */
  readonly javaTrustStores: readonly string[];
}

/** The host's trusted roots, as far as a sandbox sees them. */
export interface HostTrust {
  readonly bundle: Buffer;
  /** Symbolic links of the certificate directory by which OpenSSL finds a root by its hash: name and target. */
  readonly links: readonly { readonly name: string; readonly target: string }[];
  /** Each `cacerts` of a Java installation that is a file of its own. */
  readonly javaTrustStores: readonly string[];
}

/**
 * Lays out the sandbox's trusted roots: the system's and, where given, the sandbox's own CA.
 *
 * @param caPem the certificate only; its key never enters a sandbox.
 * @throws SallyportError `SANDBOX_FAILED` when `caPem` is not exactly one PEM certificate.
 */
export function layOutTrust(
  trust: { readonly caPem: string; readonly javaTrustStore?: Buffer } | undefined,
  host: HostTrust,
): TrustFiles {
  const links = host.links
    .filter(({ name }) => name !== 'ca-certificates.crt' && name !== 'java')
    .map(({ name, target }): StagedFile => ({ path: `/etc/ssl/certs/${name}`, kind: 'link', target }));
  const aliases = BUNDLE_ALIASES.map((path): StagedFile => ({ path, kind: 'link', target: TRUST_BUNDLE }));
  if (trust === undefined) {
    return {
      files: [...links, { path: TRUST_BUNDLE, kind: 'file', content: host.bundle }, ...aliases],
      environment: {},
      javaTrustStores: [],
    };
  }
  const pem = checkedPem(trust.caPem);
  const newline = host.bundle.length > 0 && host.bundle.at(-1) !== 0x0a ? '\n' : '';
  const files: StagedFile[] = [
    ...links,
    { path: TRUST_BUNDLE, kind: 'file', content: Buffer.concat([host.bundle, Buffer.from(`${newline}${pem}`)]) },
    { path: OWN_CA, kind: 'file', content: Buffer.from(pem) },
    ...aliases,
  ];
  const policy = JSON.stringify({
    CACertificates: [new X509Certificate(pem).raw.toString('base64')],
    // The gate answers no HTTPS records, so there is nothing to encrypt; and it refuses even the pretense in tunnels.
    EncryptedClientHelloEnabled: false,
  });
  for (const path of BROWSER_POLICIES) files.push({ path, kind: 'file', content: Buffer.from(`${policy}\n`) });
  if (trust.javaTrustStore !== undefined) {
    files.push({ path: JAVA_TRUST_STORE, kind: 'file', content: trust.javaTrustStore });
  }
  return {
    files,
    environment: Object.fromEntries(BUNDLE_VARIABLES.map((name) => [name, TRUST_BUNDLE])),
    javaTrustStores: trust.javaTrustStore === undefined ? [] : host.javaTrustStores,
  };
}

/** The path inside of the Java trust store that {@link layOutTrust} stages. */
export const STAGED_JAVA_TRUST_STORE = JAVA_TRUST_STORE;

function checkedPem(text: string): string {
  const certificates = text.match(/-----BEGIN ([A-Z0-9 ]+)-----/g) ?? [];
  if (certificates.length === 1 && certificates[0] === '-----BEGIN CERTIFICATE-----') {
    try {
      return new X509Certificate(text).toString();
    } catch {
      // Reported below: a key, say, must never get this far.
    }
  }
  throw new SallyportError(
    'SANDBOX_FAILED',
    "The sandbox's CA is not exactly one PEM certificate. This is a defect; please report it.",
  );
}

/** Reads this machine's trusted roots. A machine without any has an empty bundle. */
export function readHostTrust(): HostTrust {
  let bundle = Buffer.alloc(0);
  for (const path of SYSTEM_BUNDLES) {
    try {
      bundle = readFileSync(path);
      break;
    } catch {
      continue;
    }
  }
  return { bundle, links: readLinks('/etc/ssl/certs'), javaTrustStores: findJavaTrustStores('/usr/lib/jvm') };
}

function readLinks(directory: string): { name: string; target: string }[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isSymbolicLink())
      .map((entry) => ({ name: entry.name, target: readlinkSync(join(directory, entry.name)) }));
  } catch {
    return [];
  }
}

function findJavaTrustStores(directory: string): string[] {
  const found = new Set<string>();
  try {
    for (const name of readdirSync(directory)) {
      for (const part of ['lib/security/cacerts', 'jre/lib/security/cacerts']) {
        try {
          const real = realpathSync(join(directory, name, part));
          // Debian's is a link to /etc/ssl/certs/java/cacerts, which is replaced already.
          if (real.startsWith('/usr/')) found.add(real);
        } catch {
          continue;
        }
      }
    }
  } catch {
    // No Java here.
  }
  return [...found];
}
