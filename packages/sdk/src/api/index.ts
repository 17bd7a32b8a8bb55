// The contract of the daemon's API, version 1, with its schemas. Loads zod: programs that only want the types take them from the
// package's main entry.
export * from './daemon.ts';
export * from './endpoints.ts';
export * from './execs.ts';
export * from './fields.ts';
export * from './files.ts';
export * from './openapi.ts';
export * from './policy.ts';
export * from './problem.ts';
export * from './sandboxes.ts';
export * from './secrets.ts';
export * from './stored-secrets.ts';
