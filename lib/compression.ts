/**
 * Compression of the metadata of batches: an option of a topic, stored with it. Pure.
 */
import { checkKeys, integerOption, invalidOption } from './options.js';

/**
 * How producers of a topic compress the metadata of a batch as a whole, on their progress thread; consumers expand it.
 * It pays where the metadata of many events is alike and the network or the disk is the bottleneck. Data is never
 * compressed. `level`: of zstd, 1 (fastest) to 19. Default: 1.
 */
export type Compression = 'none' | 'zstd' | { readonly type: 'zstd'; readonly level?: number };

/** As it is stored with a topic; undefined: none. Internal. */
export interface StoredCompression {
  readonly type: 'zstd';
  readonly level: number;
}

/** Throws INVALID_ARGUMENT. @internal */
export function readCompression(given: Compression | undefined): StoredCompression | undefined {
  if (given === undefined || given === 'none') return undefined;
  const options: { readonly type: string; readonly level?: number } =
    given === 'zstd' ? { type: 'zstd' } : checkKeys('compression', given, ['type', 'level']);
  if (options.type !== 'zstd') throw invalidOption('compression', "'none', 'zstd' or { type: 'zstd', level }", given);
  return {
    type: 'zstd',
    level: integerOption('level of compression', options.level, { min: 1, max: 19, fallback: 1 }),
  };
}
