import { resolve } from 'node:path';
import type { Network } from '../api/policy.ts';
import type { Limits, SandboxCreate } from '../api/sandboxes.ts';
import { SallyportError } from '../errors.ts';
import { specOf, type Secret } from './secret.ts';

/** What a sandbox may reach, with the meaning of the flags of `sallyport run`. Nothing is allowed but this and the hosts of secrets. */
export interface NetworkOptions {
  /** As `--allow`: `HOST[:PORT]`, `*.name`, `**.name`, an address or a CIDR range. */
  readonly allow?: readonly string[] | undefined;
  /** As `--deny`; wins over everything else. */
  readonly deny?: readonly string[] | undefined;
  /** As `--tunnel`: allowed, and its TLS is not opened. The weaker choice, for pinned clients. */
  readonly tunnel?: readonly string[] | undefined;
  /** As `--resolve`: `{ "host:port": "address:port" }`. The certificate is checked all the same. */
  readonly resolve?: Readonly<Record<string, string>> | undefined;
  /** As `--upstream-ca`: PEM files with further roots, on the machine of the daemon. A relative path begins at the working directory. */
  readonly upstreamCa?: string | readonly string[] | undefined;
  /**
   * As `--client-cert`: `{ "host[:port]": "file.pem" }`, or `{ certificate, key }` where they are in two files. PEM, on the machine of the daemon;
   * a relative path begins at the working directory. The host is allowed, and the key stays with the gate.
   */
  readonly clientCert?: Readonly<Record<string, string | ClientCertificateFiles>> | undefined;
}

/** Where a client certificate lies. */
export interface ClientCertificateFiles {
  readonly certificate: string;
  /** Default: the certificate's file. */
  readonly key?: string | undefined;
}

/** A directory or file of the host that a sandbox sees. */
export interface VolumeOptions {
  /** A relative path begins at the working directory. */
  readonly source: string;
  /** Where it is in the sandbox; absolute. */
  readonly destination: string;
  /** Default false. */
  readonly readOnly?: boolean | undefined;
}

/** A sandbox to make. Everything may be left out. */
export interface SandboxOptions {
  /** 1 to 63 lower-case letters, digits and inner hyphens; unique. Default: a generated one. */
  readonly name?: string | undefined;
  /** `host`, the default: the programs of the daemon's machine, read-only. Other images are not supported yet (NOT_SUPPORTED_YET). */
  readonly image?: string | undefined;
  /** Plain variables of every command. Values of secrets are refused here. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The credentials. */
  readonly secrets?: readonly Secret[] | undefined;
  readonly network?: NetworkOptions | undefined;
  /** A directory of the host that is mounted read-write at its own path. Default: none. A relative path begins at the working directory. */
  readonly workspace?: string | undefined;
  /** Mount a home directory as workspace all the same. */
  readonly forceWorkspace?: boolean | undefined;
  /** Leave `.git/hooks` and `.git/config` of the workspace writable. */
  readonly gitWritable?: boolean | undefined;
  readonly volumes?: readonly VolumeOptions[] | undefined;
  /** Where commands start. Default: the workspace, else the home directory. */
  readonly workdir?: string | undefined;
  /** What it may use at most: `memoryBytes`, `cpus`, `pids` (default 4096). */
  readonly limits?: Limits | undefined;
  /** `runc`, the default, or another OCI runtime: a name or an absolute path. */
  readonly runtime?: string | undefined;
  /** A file for audit events instead of one below the state directory. */
  readonly auditFile?: string | undefined;
  /** For the program's own use. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Start it at once. Default true. */
  readonly start?: boolean | undefined;
  /** Remove it as soon as it has stopped. Default false; true for `Sandbox.run()`. */
  readonly autoRemove?: boolean | undefined;
  /** Stop it this long after its start, in ms: for programs that may die before they remove it. Default: never. */
  readonly lifetimeMs?: number | undefined;
}

/** The options as the API takes them: paths absolute, secrets with their values. */
export function createRequestOf(options: SandboxOptions): SandboxCreate {
  const { secrets, network, workspace, volumes, auditFile, env, labels, limits, ...rest } = options;
  return withoutUndefined({
    ...rest,
    env: env === undefined ? undefined : withoutUndefined(env),
    labels: labels === undefined ? undefined : { ...labels },
    limits: limits === undefined ? undefined : withoutUndefined(limits),
    secrets: secrets?.map(specOf),
    network: network === undefined ? undefined : networkOf(network),
    workspace: workspace === undefined ? undefined : resolve(workspace),
    auditFile: auditFile === undefined ? undefined : resolve(auditFile),
    volumes: volumes?.map((volume) => withoutUndefined({ ...volume, source: resolve(volume.source) })),
  }) as SandboxCreate;
}

function networkOf({ upstreamCa, clientCert, ...rules }: NetworkOptions): Network {
  const files = typeof upstreamCa === 'string' ? [upstreamCa] : upstreamCa;
  const clientCertificates =
    clientCert === undefined
      ? undefined
      : Object.entries(clientCert).map(([host, given]) => {
          const { certificate, key } = typeof given === 'string' ? { certificate: given } : given;
          return { host, certificate: resolve(certificate), ...(key === undefined ? {} : { key: resolve(key) }) };
        });
  return withoutUndefined({
    ...rules,
    upstreamCa: files?.map((file) => resolve(file)),
    clientCertificates,
  }) as Network;
}

function withoutUndefined<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

/** Both in one. @throws SallyportError USAGE where a host is pinned twice, or has two certificates. */
export function mergeNetworks(first: NetworkOptions, second: NetworkOptions): NetworkOptions {
  for (const field of ['resolve', 'clientCert'] as const) {
    const twice = Object.keys(second[field] ?? {}).find((host) => Object.hasOwn(first[field] ?? {}, host));
    if (twice === undefined) continue;
    throw new SallyportError('USAGE', `network: ${JSON.stringify(twice)} is there twice in "${field}". Leave one out.`);
  }
  const listOf = (files: NetworkOptions['upstreamCa']) => (typeof files === 'string' ? [files] : (files ?? []));
  return {
    allow: [...(first.allow ?? []), ...(second.allow ?? [])],
    deny: [...(first.deny ?? []), ...(second.deny ?? [])],
    tunnel: [...(first.tunnel ?? []), ...(second.tunnel ?? [])],
    resolve: { ...first.resolve, ...second.resolve },
    upstreamCa: [...listOf(first.upstreamCa), ...listOf(second.upstreamCa)],
    clientCert: { ...first.clientCert, ...second.clientCert },
  };
}
