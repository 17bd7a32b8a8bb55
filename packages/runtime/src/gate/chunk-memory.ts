/**
 * After so many bytes in chunks the young garbage is collected. Less would have the collection cost more than it saves, more would let the chunks
 * pile up until V8 searches the whole heap because of them, and more memory for them.
 */
const COLLECT_AFTER_BYTES = 8 * 1024 * 1024;

/**
 * The slabs out of which Node cuts small buffers, in bytes; 64 KiB unless told. A slab lives as long as any of its pieces, and each connection keeps
 * some, which lie between pieces for the messages of others: connections would hold slabs rather than pieces.
 */
Buffer.poolSize = 8 * 1024;

/** V8's `gc`, with the options that are used here. */
type Collect = (options: { readonly type: 'minor' }) => void;

let seen = 0;
let collect: Collect | null = null;

/**
 * Counts a chunk that was made outside of V8's heap, as each read of a socket makes one, and is about to be garbage.
 *
 * V8 hardly notices such memory: the objects that hold it are small, so the cheap collection of young objects comes much too late, and what comes first is
 * the costly one of everything. For large bodies that took a third of the processor time.
 */
export function noteChunk(bytes: number): void {
  seen += bytes;
  if (seen < COLLECT_AFTER_BYTES) return;
  seen = 0;
  collect ??= findCollector();
  collect({ type: 'minor' });
}

/** V8 has a function for it, which is in a context only when a flag says so while that is made. */
function findCollector(): Collect {
  // Not imported: nearly no start of the program needs them.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  const { runInNewContext } = process.getBuiltinModule('node:vm');
  setFlagsFromString('--expose-gc');
  try {
    const found: unknown = runInNewContext('gc');
    if (typeof found === 'function') return found as Collect;
  } catch {
    // This V8 has none: the garbage is collected when V8 thinks so.
  } finally {
    // Compiled code is kept for a program with the very same flags.
    setFlagsFromString('--no-expose-gc');
  }
  return () => undefined;
}
