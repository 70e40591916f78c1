/** The raw ceilings, measured in the same run by native programs without sessions, batches, checksums or JS. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

interface CeilingLine {
  readonly mb_per_s?: number;
  readonly p50_us?: number;
  readonly raw_mb_per_s?: number;
}

function run(program: string, args: readonly string[]): CeilingLine | undefined {
  const directory = process.env['DIASPORA_NATIVE_BENCH_DIR'] ?? '';
  const path = join(directory, program);
  if (!existsSync(path)) throw new Error(`${program} is not built; run the benchmark by 'npm run bench'`);
  const done = spawnSync(path, args, { encoding: 'utf8' });
  const line = done.stdout?.trim().split('\n').at(-1) ?? '';
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${done.stderr}`);
  return JSON.parse(line) as CeilingLine;
}

/** MB/s of bare RMA of `bytes` a piece: 'read' pulls from a client (produce), 'write' pushes to one (consume). */
export function rmaCeiling(provider: string, test: 'read' | 'write', bytes: number): number {
  return run('ceiling_bench', ['--provider', provider, '--test', test, '--bytes', String(bytes), '--seconds', '0.5'])
    ?.mb_per_s as number;
}

/** Microseconds, median, of a message of 256 bytes there and back, both sides blocking (polling on shm). */
export function roundTripCeiling(provider: string): number {
  return run('ceiling_bench', ['--provider', provider, '--test', 'rtt', '--bytes', '256', '--seconds', '0.5'])
    ?.p50_us as number;
}

/** MB/s of writing and syncing `bytes` at a time to the disk that holds `directory`. */
export function diskCeiling(directory: string, bytes: number): number {
  return run('log_bench', ['--dir', directory, '--bytes', String(bytes), '--durability', 'sync', '--seconds', '0.5'])
    ?.raw_mb_per_s as number;
}
