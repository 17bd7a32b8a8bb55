/** What a fuzz case consists of: data that a fixture can hold. Byte strings are Latin-1 text. */
export type CaseData = string | number | boolean | null | readonly CaseData[] | { readonly [name: string]: CaseData };

/** Attempts after which a case is as small as it gets. */
const MAX_ATTEMPTS = 3000;

/**
 * Makes a failing case smaller while it keeps failing: leaves out ever smaller blocks of its texts and lists, and lowers its numbers.
 *
 * `fails` says whether a candidate fails in the same way; a candidate that makes no sense must not.
 */
export async function shrink<Case extends CaseData>(
  failing: Case,
  fails: (candidate: Case) => Promise<boolean>,
  deadlineMs = Number.POSITIVE_INFINITY,
): Promise<Case> {
  let smallest = failing;
  let attempts = 0;
  const started = performance.now();
  for (let progressed = true; progressed;) {
    progressed = false;
    for (const candidate of smaller(smallest)) {
      attempts += 1;
      if (attempts > MAX_ATTEMPTS || performance.now() - started > deadlineMs) return smallest;
      if (await fails(candidate as Case)) {
        smallest = candidate as Case;
        progressed = true;
        break;
      }
    }
  }
  return smallest;
}

/** Every way to make a case a little smaller, the boldest first. */
function* smaller(data: CaseData): Generator<CaseData, undefined> {
  if (typeof data === 'string') {
    yield* withoutBlocks(data);
  } else if (typeof data === 'number') {
    if (Number.isInteger(data) && data > 0) yield* [0, Math.floor(data / 2), data - 1].filter((less) => less < data);
  } else if (data === true) {
    yield false;
  } else if (isList(data)) {
    yield* withoutBlocks(data);
    for (const [index, item] of data.entries()) for (const less of smaller(item)) yield data.with(index, less);
  } else if (data !== null && typeof data === 'object') {
    for (const [name, item] of Object.entries(data)) for (const less of smaller(item)) yield { ...data, [name]: less };
  }
}

function isList(data: CaseData): data is readonly CaseData[] {
  return Array.isArray(data);
}

function* withoutBlocks(whole: string | readonly CaseData[]): Generator<CaseData, undefined> {
  for (let length = whole.length; length > 0; length = Math.floor(length / 2)) {
    for (let at = 0; at < whole.length; at += length) {
      yield typeof whole === 'string'
        ? whole.slice(0, at) + whole.slice(at + length)
        : [...whole.slice(0, at), ...whole.slice(at + length)];
    }
  }
}
