// Writes docs/clients.md from what the last `npm run test:clients` found.
import { writeTable } from './table.ts';

writeTable();
