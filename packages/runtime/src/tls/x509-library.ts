import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, dirname } from 'node:path';
import { compileFunction } from 'node:vm';
import type * as x509 from '@peculiar/x509';

/** The part of `@peculiar/x509` that makes certificates. */
export type X509Library = Pick<
  typeof x509,
  | 'AuthorityKeyIdentifierExtension'
  | 'BasicConstraintsExtension'
  | 'ExtendedKeyUsage'
  | 'ExtendedKeyUsageExtension'
  | 'KeyUsageFlags'
  | 'KeyUsagesExtension'
  | 'Name'
  | 'SubjectAlternativeNameExtension'
  | 'SubjectKeyIdentifierExtension'
  | 'X509CertificateGenerator'
>;

/**
 * Loads `@peculiar/x509` from the single file that its package holds for browsers (`unpkg` in its manifest): 35 ms of a processor
 * instead of 95 for the same code in 215 modules. That file is a script which leaves a variable `x509`.
 */
export function loadX509Library(): X509Library {
  const require = createRequire(import.meta.url);
  // It decorates classes, and asks for this polyfill by its global.
  require('reflect-metadata');
  const filename = join(dirname(require.resolve('@peculiar/x509')), 'x509.js');
  const source = `${readFileSync(filename, 'utf8')}\nreturn x509;`;
  const load = compileFunction(source, [], { filename }) as () => X509Library;
  return load();
}
