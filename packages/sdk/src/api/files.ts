import { z } from 'zod';
import { count, insidePath, moment } from './fields.ts';

export const fileEntrySchema = z
  .strictObject({
    name: z.string(),
    path: z.string(),
    type: z.enum(['file', 'directory', 'link', 'other']),
    size: count,
    /** Permission bits. */
    mode: z.int().min(0).max(0o7777),
    modifiedAt: moment,
    /** Where a link points; null for anything else. */
    target: z.string().nullable(),
  })
  .meta({ id: 'FileEntry' });

export const fileListSchema = z.strictObject({ entries: z.array(fileEntrySchema) }).meta({ id: 'FileList' });

export const directoryCreateSchema = z
  .strictObject({
    path: insidePath,
    /** Make what is missing above it, and take one that exists for made. Default false. */
    recursive: z.boolean().optional(),
  })
  .meta({ id: 'DirectoryCreate' });

export const renameSchema = z
  .strictObject({
    from: insidePath,
    /** A file there is replaced; a directory there is an error. */
    to: insidePath,
  })
  .meta({ id: 'Rename' });

export type FileEntry = z.infer<typeof fileEntrySchema>;
export type DirectoryCreate = z.input<typeof directoryCreateSchema>;
export type Rename = z.input<typeof renameSchema>;
