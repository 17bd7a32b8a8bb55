import { Random } from '../http1/random.ts';

/** Cuts a Latin-1 text into at most eight pieces, as `seed` says; 0 leaves it whole. */
export function cutInPieces(text: string, seed: number): Buffer[] {
  const bytes = Buffer.from(text, 'latin1');
  if (seed === 0 || bytes.length < 2) return [bytes];
  const random = new Random(seed);
  const places = Array.from({ length: 1 + random.below(7) }, () => 1 + random.below(bytes.length - 1));
  const ends = [...new Set(places), bytes.length].toSorted((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}
