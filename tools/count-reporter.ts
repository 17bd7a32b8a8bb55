import { resolve } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

/**
 * A reporter for node:test that writes one line for tools/test-run.ts.
 *
 * node:test reports a file in which no test was declared as one passed test with the file's name. Here that is a failure:
 * a test that silently did not run is what the count is there to show.
 */
export default async function* countTests(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let emptyFiles = 0;
  for await (const event of events) {
    if (event.type === 'test:pass' && event.data.nesting === 0 && isFileItself(event.data)) emptyFiles += 1;
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue;
    const { passed, failed = 0, cancelled, skipped, todo } = event.data.counts as Counts;
    yield `passed=${passed - emptyFiles} failed=${failed + cancelled + emptyFiles} skipped=${skipped + todo}\n`;
  }
}

interface Counts {
  readonly passed: number;
  readonly failed?: number;
  readonly cancelled: number;
  readonly skipped: number;
  readonly todo: number;
}

function isFileItself({ name, file }: { readonly name: string; readonly file?: string | undefined }): boolean {
  return file !== undefined && resolve(name) === resolve(file);
}
