import { z } from 'zod';
import { ERROR_CODES } from '../errors.ts';

/**
 * Every failure of the API: `application/problem+json` (RFC 9457). `code` is stable; `detail` is for people, safe to show, and says what
 * to do next.
 */
export const problemSchema = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int().min(400).max(599),
    code: z.enum(ERROR_CODES),
    detail: z.string(),
    /** For a request that breaks its schema: each field by its path, such as `secrets[0].allowHosts[1]`. */
    errors: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem' });

export type Problem = z.infer<typeof problemSchema>;
