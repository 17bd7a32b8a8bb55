// Loaded before the daemon (`node --import`): on SIGUSR2 the oldest of its threads of gates ends, whatever it does.
import { createRequire, syncBuiltinESMExports } from 'node:module';

const threads = createRequire(import.meta.url)('node:worker_threads');
const gates = [];

threads.Worker = class extends threads.Worker {
  constructor(program, options) {
    super(program, options);
    if (!String(options?.workerData?.program).includes('gate-worker')) return;
    gates.push(this);
    this.once('exit', () => gates.splice(gates.indexOf(this), 1));
  }
};
syncBuiltinESMExports();
process.on('SIGUSR2', () => void gates[0]?.terminate());
