// Errors and types, without a dependency: schemas have entries of their own (`@sallyport/sdk/audit-event`), since loading
// zod takes longer than many a program that only wants to know an error.
export { ERROR_CODES, SallyportError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export type { AuditDecision, AuditEvent, AuditKind } from './audit-event.ts';
export type {
  DaemonEvent,
  DaemonStatus,
  DaemonStop,
  DirectoryCreate,
  Endpoint,
  EndpointId,
  ExecCreate,
  ExecEvent,
  ExecInfo,
  FileEntry,
  Limits,
  LogEntry,
  Network,
  Policy,
  PolicyRule,
  Problem,
  Rename,
  SandboxCreate,
  SandboxInfo,
  SandboxState,
  SandboxStats,
  SandboxStop,
  SecretInfo,
  SecretSpec,
  SecretUpdate,
  SignalName,
  StoredSecret,
  TerminalSize,
  ValueSecret,
  Volume,
} from './api/index.ts';
