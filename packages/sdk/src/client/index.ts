// The client of the daemon. Needs Node 22 or later, Deno or Bun; what a browser can use is in the package's main entry.
/// <reference lib="esnext.disposable" preserve="true" />
export { Connection } from './connection.ts';
export type { ConnectionOptions } from './connection.ts';
export type { Content } from './content.ts';
export { daemonSocket, setDaemonProgram } from './daemon-launch.ts';
export { ExecStream } from './exec-stream.ts';
export type { AttachOptions, ExecInput, ExecOptions, ExecResult, ExecStreamEvent } from './exec-stream.ts';
export type { HostCopy } from './host-copy.ts';
export type { CallOptions } from './limit.ts';
export { Sandbox } from './sandbox.ts';
export type {
  EventOptions,
  ExecResultOptions,
  LogOptions,
  LogPiece,
  RemoveOptions,
  SandboxCallOptions,
  StopOptions,
} from './sandbox.ts';
export { SandboxBuilder } from './sandbox-builder.ts';
export { SandboxFiles } from './sandbox-files.ts';
export type { RecursiveOptions, WriteOptions } from './sandbox-files.ts';
export type { ClientCertificateFiles, NetworkOptions, SandboxOptions, VolumeOptions } from './sandbox-options.ts';
export { SandboxPolicy, SandboxSecrets } from './sandbox-rules.ts';
export { Secret, SecretBuilder } from './secret.ts';
export type { EnvSecretOptions, NamedSecretOptions, SecretChange, ServiceSecretOptions } from './secret.ts';
export { policy, StoredRules } from './stored-rules.ts';
export type { RemoveRuleOptions, StoredRuleCallOptions, StoredRuleOptions } from './stored-rules.ts';
export { secrets, StoredSecrets } from './stored-secrets.ts';
export type {
  CustomSecretOptions,
  PlainSecretOptions,
  ServiceKeyOptions,
  StoredSecretCallOptions,
  StoredSecretListOptions,
  StoredSecretOptions,
} from './stored-secrets.ts';
