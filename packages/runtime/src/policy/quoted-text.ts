const MAX_QUOTED_CHARACTERS = 120;

/**
 * Quotes text that somebody else wrote, for a message: JSON escapes, pure printable ASCII, cut at 120 characters.
 *
 * Plain JSON would let look-alike letters, bidirectional overrides and terminal controls above U+007F through.
 */
export function quote(text: string): string {
  const shown = text.length > MAX_QUOTED_CHARACTERS ? `${text.slice(0, MAX_QUOTED_CHARACTERS)}…` : text;
  let quoted = '';
  for (const unit of JSON.stringify(shown).split('')) {
    const code = unit.charCodeAt(0);
    quoted += code < 0x7f || unit === '…' ? unit : `\\u${code.toString(16).padStart(4, '0')}`;
  }
  return quoted;
}
