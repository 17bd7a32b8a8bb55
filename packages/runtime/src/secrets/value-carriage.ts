import type { Location } from './bound-secret.ts';

/** Why a location cannot carry a value, in words that hold nothing of it. */
export interface CarriageProblem {
  /** Goes on from "The value of X …". */
  readonly problem: string;
  readonly fix: string;
}

/**
 * What each location carries. A value is refused when it is set for a location that cannot carry it in any request; what only a certain
 * request cannot carry (a blank at the end of a field, a colon in the user of Basic credentials, a multipart delimiter) fails at use.
 *
 * | location | carries | written as |
 * |---|---|---|
 * | `header` | Latin-1 without control characters but the tab (RFC 9110 section 5.5) | one byte for each character |
 * | `basic` | any text without control characters (RFC 7617 section 2) | UTF-8, in base64 |
 * | `query`, `path` | any text | UTF-8, percent-encoded |
 * | `body`, `websocket` | any text | UTF-8; JSON and percent escapes where the format has them |
 */
const CARRIES: Readonly<
  Record<Location['kind'], { readonly controls: 'any' | 'tab' | 'none'; readonly last: number }>
> = {
  header: { controls: 'tab', last: 0xff },
  basic: { controls: 'none', last: 0x10ffff },
  query: { controls: 'any', last: 0x10ffff },
  path: { controls: 'any', last: 0x10ffff },
  body: { controls: 'any', last: 0x10ffff },
  websocket: { controls: 'any', last: 0x10ffff },
};

/** Why a value cannot be carried in that location, or null when it can. */
export function carriageProblem(text: string, location: Location['kind']): CarriageProblem | null {
  const { controls, last } = CARRIES[location];
  const cannot = `\`${location}\` cannot carry`;
  const elsewhere = `, or leave ${location} out of the secret's locations`;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code > last) {
      return {
        problem: 'has a character beyond Latin-1 in it',
        fix: `Look for typographic quotes, dashes or invisible characters from a copy, which ${cannot}${elsewhere}.`,
      };
    }
    const isControl = code < 0x20 || code === 0x7f;
    if (!isControl || controls === 'any' || (controls === 'tab' && code === 0x09)) continue;
    if (code === 0x0d || code === 0x0a) {
      return {
        problem: 'has a line break in it',
        fix: `Remove it (a file often ends in one), since ${cannot} it${elsewhere}.`,
      };
    }
    const what = code === 0 ? 'a NUL' : code === 0x09 ? 'a tab' : 'a control character';
    return { problem: `has ${what} in it`, fix: `Remove it, since ${cannot} it${elsewhere}.` };
  }
  return null;
}
