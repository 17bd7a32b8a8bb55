/**
 * Writes ASN.1 DER (X.690), just the types that an X.509 certificate is made of. Nothing here reads DER.
 */

/** One encoded element: tag, definite length, content. */
export function derElement(tag: number, ...content: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of content) {
    length += part.length;
  }
  return Buffer.concat([derHeader(tag, length), ...content]);
}

function derHeader(tag: number, length: number): Buffer {
  if (length < 0x80) {
    return Buffer.from([tag, length]);
  }
  if (length < 0x100) {
    return Buffer.from([tag, 0x81, length]);
  }
  if (length < 0x10000) {
    return Buffer.from([tag, 0x82, length >>> 8, length & 0xff]);
  }
  throw new RangeError(`A DER element of ${length} bytes does not occur in a certificate; the most is 65535`);
}

/** SEQUENCE. */
export function derSequence(...content: readonly Uint8Array[]): Buffer {
  return derElement(0x30, ...content);
}

/** SET of one element, as in a relative distinguished name: more would have to be sorted. */
export function derSetOfOne(content: Uint8Array): Buffer {
  return derElement(0x31, content);
}

/** BOOLEAN TRUE. (DER leaves out a FALSE that is the default.) */
export function derTrue(): Buffer {
  return Buffer.from([0x01, 0x01, 0xff]);
}

/** INTEGER, not negative, from big-endian bytes. */
export function derUnsignedInteger(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) {
    start += 1;
  }
  const digits = bytes.subarray(start);
  const needsSign = digits.length === 0 || (digits[0] ?? 0) >= 0x80;
  return needsSign ? derElement(0x02, Buffer.of(0), digits) : derElement(0x02, digits);
}

/** BIT STRING of whole bytes, or with `unusedBits` at the end of the last one. */
export function derBitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return derElement(0x03, Buffer.of(unusedBits), bytes);
}

/** OCTET STRING. */
export function derOctetString(bytes: Uint8Array): Buffer {
  return derElement(0x04, bytes);
}

/** OBJECT IDENTIFIER from its dotted form. */
export function derObjectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      digits.unshift((left & 0x7f) | 0x80);
    }
    bytes.push(...digits);
  }
  return derElement(0x06, Buffer.from(bytes));
}

/** UTF8String. */
export function derUtf8String(text: string): Buffer {
  return derElement(0x0c, Buffer.from(text, 'utf8'));
}

/** Time as RFC 5280 section 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050; whole seconds. */
export function derTime(at: Date): Buffer {
  const digits = at.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '');
  const year = at.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? derElement(0x17, Buffer.from(`${digits.slice(2)}Z`, 'latin1'))
    : derElement(0x18, Buffer.from(`${digits}Z`, 'latin1'));
}

/** A constructed element with a context-specific tag. */
export function derExplicit(number: number, ...content: readonly Uint8Array[]): Buffer {
  return derElement(0xa0 | number, ...content);
}

/** A primitive element whose context-specific tag stands in place of the universal one. */
export function derImplicit(number: number, bytes: Uint8Array): Buffer {
  return derElement(0x80 | number, bytes);
}
