import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

/** What figures were measured on. */
export interface Machine {
  readonly processors: number;
  readonly model: string;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly system: string;
  readonly node: string;
  readonly openssl: string;
  /** All of it in a line. */
  readonly summary: string;
}

/** This machine, without anything that names it. */
export function describeMachine(): Machine {
  const processors = cpus();
  const system = execFileSync('sh', ['-c', '. /etc/os-release && echo "$PRETTY_NAME"'], { encoding: 'utf8' }).trim();
  const parts = {
    processors: processors.length,
    model: processors[0]?.model.trim() ?? 'unknown',
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release().replace(/^(\d+\.\d+).*/, '$1'),
    system,
    node: process.versions.node,
    openssl: process.versions.openssl ?? '',
  };
  const { model, memoryGb, kernel, node } = parts;
  return {
    ...parts,
    summary: `${parts.processors} × ${model}, ${memoryGb} GB, Linux ${kernel}, ${system}, Node ${node}`,
  };
}
