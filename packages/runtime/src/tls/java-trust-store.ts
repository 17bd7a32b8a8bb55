import { createHash } from 'node:crypto';

/** The password of the trust store: Java's own default. It protects nothing, since the store holds certificates alone. */
export const JAVA_TRUST_STORE_PASSWORD = 'changeit';

const MAGIC = 0xfeedfeed;
const VERSION = 2;
const TRUSTED_CERTIFICATE = 2;
/** Sun's provider mixes this phrase into the digest (`JavaKeyStore.getPreKeyedHash`). */
const SALT = 'Mighty Aphrodite';

/**
 * Writes a Java trust store in Sun's JKS form, which Java 8 to 25 read without an option; its password is {@link JAVA_TRUST_STORE_PASSWORD}.
 *
 * @param certificatesDer the certificates to trust; their aliases are `sallyport-0`, `sallyport-1`, … in this order
 * @param at the creation time that each entry states
 */
export function encodeJks(certificatesDer: readonly Uint8Array[], at: Date): Buffer {
  const parts: Uint8Array[] = [u32(MAGIC), u32(VERSION), u32(certificatesDer.length)];
  const created = Buffer.alloc(8);
  created.writeBigUInt64BE(BigInt(at.getTime()));
  for (const [index, der] of certificatesDer.entries()) {
    parts.push(u32(TRUSTED_CERTIFICATE), utf(`sallyport-${index}`), created, utf('X.509'), u32(der.length), der);
  }
  const body = Buffer.concat(parts);
  const digest = createHash('sha1')
    .update(Buffer.from(JAVA_TRUST_STORE_PASSWORD, 'utf16le').swap16())
    .update(SALT)
    .update(body)
    .digest();
  return Buffer.concat([body, digest]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** `DataOutput.writeUTF` for ASCII: two bytes of length, then the text. */
function utf(text: string): Buffer {
  const bytes = Buffer.from(`\0\0${text}`, 'latin1');
  bytes.writeUInt16BE(text.length);
  return bytes;
}
