import { BODY_ROWS } from './body-rows.ts';
import type { Row } from './row.ts';
import { SCALE_ROWS } from './scale-rows.ts';
import { SMALL_ROWS } from './small-rows.ts';
import { WORKER_ROWS } from './worker-rows.ts';

/** Every row, in the order in which it is measured. */
export const ROWS: readonly Row[] = [...SMALL_ROWS, ...BODY_ROWS, ...SCALE_ROWS, ...WORKER_ROWS];
