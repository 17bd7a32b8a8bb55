import { HTAB, SP } from './octets.ts';

/**
 * Helpers over the flat field array of a head: name, value, name, value, …
 *
 * Names that are passed in are lower case; names in the array have any case. Nothing is allocated to compare them.
 */

/** Whether `name` is `lowerName` in any mix of ASCII case. `lowerName` is in lower case. */
export function equalsIgnoringCase(name: string, lowerName: string): boolean {
  if (name.length !== lowerName.length) return false;
  // The first character tells most names apart.
  return (name.charCodeAt(0) | 0x20) === (lowerName.charCodeAt(0) | 0x20) && matchesAt(name, 0, lowerName);
}

function matchesAt(text: string, start: number, lowerName: string): boolean {
  for (let i = 0; i < lowerName.length; i++) {
    let octet = text.charCodeAt(start + i);
    if (octet >= 0x41 && octet <= 0x5a) octet |= 0x20;
    if (octet !== lowerName.charCodeAt(i)) return false;
  }
  return true;
}

/** The value of the first field line of that name, or undefined. */
export function fieldValue(fields: readonly string[], lowerName: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (equalsIgnoringCase(fields[i]!, lowerName)) return fields[i + 1];
  }
  return undefined;
}

/** The values of all field lines of that name, in order. */
export function fieldValues(fields: readonly string[], lowerName: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (equalsIgnoringCase(fields[i]!, lowerName)) values.push(fields[i + 1]!);
  }
  return values;
}

/** How many field lines have that name. */
export function countField(fields: readonly string[], lowerName: string): number {
  let count = 0;
  for (let i = 0; i < fields.length; i += 2) {
    if (equalsIgnoringCase(fields[i]!, lowerName)) count++;
  }
  return count;
}

/** Whether a comma-separated field (RFC 9110 section 5.6.1), over all of its lines, has that member in any case. */
export function hasToken(fields: readonly string[], lowerName: string, lowerToken: string): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    if (equalsIgnoringCase(fields[i]!, lowerName) && listHas(fields[i + 1]!, lowerToken)) return true;
  }
  return false;
}

function listHas(list: string, lowerToken: string): boolean {
  if (list === lowerToken) return true;
  let start = 0;
  while (start < list.length) {
    let end = list.indexOf(',', start);
    if (end === -1) end = list.length;
    const next = end + 1;
    while (start < end && isWhiteSpace(list.charCodeAt(start))) start++;
    while (end > start && isWhiteSpace(list.charCodeAt(end - 1))) end--;
    if (end - start === lowerToken.length && matchesAt(list, start, lowerToken)) return true;
    start = next;
  }
  return false;
}

function isWhiteSpace(octet: number): boolean {
  return octet === SP || octet === HTAB;
}

/** Removes every field line of that name, in place. Returns how many there were. */
export function removeField(fields: string[], lowerName: string): number {
  return removeWhere(fields, (name) => equalsIgnoringCase(name, lowerName));
}

/** Makes `value` the only value of that field, in place: at the place and in the spelling of its first line, else as `name` at the end. */
export function setField(fields: string[], name: string, value: string): void {
  const lowerName = name.toLowerCase();
  let kept = 0;
  let isSet = false;
  for (let i = 0; i < fields.length; i += 2) {
    const present = fields[i]!;
    if (equalsIgnoringCase(present, lowerName)) {
      if (isSet) continue;
      isSet = true;
      fields[kept] = present;
      fields[kept + 1] = value;
    } else {
      fields[kept] = present;
      fields[kept + 1] = fields[i + 1]!;
    }
    kept += 2;
  }
  fields.length = kept;
  if (!isSet) fields.push(name, value);
}

function removeWhere(fields: string[], isUnwanted: (name: string, value: string) => boolean): number {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (isUnwanted(name, value)) continue;
    if (kept !== i) {
      fields[kept] = name;
      fields[kept + 1] = value;
    }
    kept += 2;
  }
  const removed = (fields.length - kept) / 2;
  fields.length = kept;
  return removed;
}
