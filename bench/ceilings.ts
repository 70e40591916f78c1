/** The raw ceilings, measured in the same run by native programs without sessions, batches, checksums or JS. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

function run(program: string, args: readonly string[]): (field: string) => number {
  const directory = process.env['DIASPORA_NATIVE_BENCH_DIR'] ?? '';
  const path = join(directory, program);
  if (!existsSync(path)) throw new Error(`${program} is not built; run the benchmark by 'npm run bench'`);
  const done = spawnSync(path, args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${done.stderr}`);
  const figures = JSON.parse(done.stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
  return (field) => {
    const value = figures[field];
    if (typeof value !== 'number') throw new Error(`${program} printed no ${field}`);
    return value;
  };
}

/** Addresses that the two sides use; undefined: any. */
export interface Hosts {
  readonly client: string;
  readonly server: string;
}

function addressing(provider: string, hosts: Hosts | undefined): string[] {
  return ['--provider', provider, ...(hosts === undefined ? [] : ['--hosts', `${hosts.client},${hosts.server}`])];
}

/** MB/s of bare RMA of `bytes` a piece: 'read' pulls from a client (produce), 'write' pushes to one (consume). */
export function rmaCeiling(provider: string, hosts: Hosts | undefined, test: 'read' | 'write', bytes: number): number {
  const args = [...addressing(provider, hosts), '--test', test, '--bytes', String(bytes), '--seconds', '0.5'];
  return run('ceiling_bench', args)('mb_per_s');
}

/** Microseconds, median, of a message of 256 bytes there and back, both sides blocking (polling on shm). */
export function roundTripCeiling(provider: string, hosts: Hosts | undefined): number {
  const args = [...addressing(provider, hosts), '--test', 'rtt', '--bytes', '256', '--seconds', '0.5'];
  return run('ceiling_bench', args)('p50_us');
}

/**
 * MB/s of durable writes of new data to the disk that holds `directory`: the best of a bare loop of write and sync (of
 * `bytes`, and of 64 MiB at a time) and of our log alone, which no network feeds.
 */
export function diskCeiling(directory: string, bytes: number): number {
  const args = ['--dir', directory, '--bytes', String(bytes), '--durability', 'sync', '--seconds', '0.5'];
  const figure = run('log_bench', args);
  return Math.max(figure('raw_mb_per_s'), figure('mb_per_s'));
}
