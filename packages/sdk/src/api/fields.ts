import { z } from 'zod';

/** 1 to 63 lower-case letters, digits and inner hyphens: the name of a sandbox, and its host name. */
export const SANDBOX_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** The most bytes of a JSON request body. */
export const MAX_JSON_BODY_BYTES = 8 * 1024 * 1024;

export const sandboxName = z
  .string()
  .regex(SANDBOX_NAME, 'A name has 1 to 63 lower-case letters, digits and inner hyphens')
  .meta({ description: 'The name of a sandbox, also its host name.' });

export const identifier = z
  .string()
  .regex(/^[0-9a-z]{1,64}$/)
  .meta({ description: 'An identifier that the daemon gave out.' });

/** When something happened: ISO 8601, UTC, ms. */
export const moment = z.iso.datetime({ precision: 3 });

export const environmentName = z
  .string()
  .max(128)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'A variable name has letters, digits and "_", and no digit first');

/** Text without NUL: what can be an argument, a path or the value of a variable. */
export const text = z
  .string()
  .max(1024 * 1024)
  .refine((value) => !value.includes('\0'), 'NUL is not possible here');

export const insidePath = text.min(1).max(4096).regex(/^\//, 'A path inside the sandbox begins with "/"');
export const hostPath = text.min(1).max(4096).regex(/^\//, 'A path on the host begins with "/"');

export const environment = z.record(environmentName, text);

/** The longest that a timer can wait, in ms. */
export const milliseconds = z.int().min(1).max(2_147_483_647);

export const count = z.int().nonnegative();

/** A query parameter that is a whole number. */
export const countParameter = z
  .string()
  .regex(/^\d{1,15}$/, 'Write a whole number')
  .transform(Number);

/** A query parameter that is a switch. */
export const flagParameter = z.enum(['true', 'false']).transform((value) => value === 'true');

export const signalName = z.enum([
  'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGKILL', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGTERM', 'SIGCONT', 'SIGSTOP', 'SIGTSTP', 'SIGWINCH',
]); // prettier-ignore
