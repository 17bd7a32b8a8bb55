/**
 * The scripts that host names are written in. Those that one language mixes share a group; whatever is in no group
 * (digits, hyphens, symbols, combining marks) goes with any.
 */
const SCRIPT_GROUPS: readonly RegExp[] = [
  /\p{Script=Latin}/u,
  /\p{Script=Greek}/u,
  /\p{Script=Cyrillic}/u,
  /\p{Script=Armenian}/u,
  /\p{Script=Cherokee}/u,
  /\p{Script=Georgian}/u,
  /\p{Script=Coptic}/u,
  /\p{Script=Lisu}/u,
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Hangul}]/u,
];
const LETTER = /\p{L}/u;

/**
 * True when a label has letters of more than one script, as a look-alike has (`ex\u0430mple` with a Cyrillic а).
 *
 * Every letter of a script without a group of its own counts as one further group.
 */
export function mixesScripts(label: string): boolean {
  let seen = -1;
  for (const character of label) {
    if (!LETTER.test(character)) continue;
    const found = SCRIPT_GROUPS.findIndex((group) => group.test(character));
    const group = found < 0 ? SCRIPT_GROUPS.length : found;
    if (seen >= 0 && seen !== group) return true;
    seen = group;
  }
  return false;
}
