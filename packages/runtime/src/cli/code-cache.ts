import { hash } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** Of SHA-256. */
const DIGEST_BYTES = 32;

/**
 * Reads the compiled code of a program, as {@link writeCompiledCode} left it. Undefined where there is none, where it is of another program, or
 * was damaged: V8 itself compares versions, but of the program no more than its length, and would run whatever stands there.
 *
 * @param programId tells the very text of the program.
 */
export function readCompiledCode(file: string, programId: string): Buffer | undefined {
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch {
    return undefined;
  }
  const code = content.subarray(DIGEST_BYTES);
  return content.subarray(0, DIGEST_BYTES).equals(digest(programId, code)) ? code : undefined;
}

/** Keeps the compiled code of a program, whole or not at all. That it cannot be kept is no reason to fail: it is compiled again then. */
export function writeCompiledCode(file: string, programId: string, code: Buffer): void {
  const partial = `${file}.${process.pid}`;
  try {
    writeFileSync(partial, Buffer.concat([digest(programId, code), code]), { mode: 0o600, flag: 'wx' });
    renameSync(partial, file);
  } catch {
    rmSync(partial, { force: true });
  }
}

function digest(programId: string, code: Buffer): Buffer {
  return hash('sha256', Buffer.concat([Buffer.from(programId), hash('sha256', code, 'buffer')]), 'buffer');
}
