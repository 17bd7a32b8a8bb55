export { ERROR_CODES, SallyportError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
