/** Octets that HTTP/1 gives a meaning (RFC 9110 section 5.6). */
export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;

/** 1 for each octet of a token (`tchar`, RFC 9110 section 5.6.2). */
export const IS_TOKEN: Uint8Array = octetSet(
  "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
);

/** 1 for each octet of a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5). No other control octets, no DEL. */
export const IS_FIELD_VALUE: Uint8Array = octetRange(0x20, 0xff);
IS_FIELD_VALUE[HTAB] = 1;
IS_FIELD_VALUE[0x7f] = 0;

/** 1 for each visible ASCII octet (VCHAR): what a request-target may be made of. */
export const IS_VISIBLE: Uint8Array = octetRange(0x21, 0x7e);

/** Value of a hexadecimal digit; 255 for any other octet. */
export const HEX_VALUE: Uint8Array = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  const text = digit.toString(16);
  HEX_VALUE[text.charCodeAt(0)] = digit;
  HEX_VALUE[text.toUpperCase().charCodeAt(0)] = digit;
}

function octetSet(members: string): Uint8Array {
  const set = new Uint8Array(256);
  for (let i = 0; i < members.length; i++) set[members.charCodeAt(i)] = 1;
  return set;
}

function octetRange(first: number, last: number): Uint8Array {
  return new Uint8Array(256).fill(1, first, last + 1);
}

/** Whether every character of `text` is in `set`. A character above 0xff is in no set. */
export function isMadeOf(text: string, set: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    if (set[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}
