import type { BoundSecret } from './bound-secret.ts';
import { MIN_VALUE_BYTES, type RedactionRule } from './forms.ts';
import { SecretValue } from './secret-value.ts';

/** What has to be redacted for the secrets of a sandbox: each value in every {@link spellings spelling}. */
export function redactionRules(secrets: readonly BoundSecret[]): readonly RedactionRule[] {
  return secrets.map(({ name, placeholder, value }) => ({ name, placeholder, values: spellings(value) }));
}

/**
 * The texts that a value comes back as: itself, without the white space around it, which fields and forms lose, and where it has several
 * lines with either line end, as text modes and HTML forms change them. Too short ones are left out, but never itself.
 */
function spellings(value: SecretValue): readonly SecretValue[] {
  const text = value.reveal();
  const lines = text.replaceAll(/\r\n?/g, '\n');
  const texts = new Set([text, lines, lines.replaceAll('\n', '\r\n')]);
  for (const spelling of [...texts]) {
    const core = spelling.trim();
    if (Buffer.byteLength(core) >= MIN_VALUE_BYTES) texts.add(core);
  }
  return texts.size === 1 ? [value] : [...texts].map((spelling) => new SecretValue(spelling));
}
