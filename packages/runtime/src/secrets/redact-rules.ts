import { MIN_VALUE_BYTES, type RedactionRule } from './forms.ts';
import { SecretValue } from './secret-value.ts';

/** What has to be redacted for values that are to be known by placeholder: each in every {@link spellings spelling}. */
export function redactionRules(known: readonly RedactionRule[]): readonly RedactionRule[] {
  return known.map(({ name, placeholder, values }) => ({ name, placeholder, values: values.flatMap(spellings) }));
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
