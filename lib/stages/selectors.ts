/**
 * Partition selectors, made ready to run. Each producer has one of its own, as some keep count.
 *
 * Thread: the producer's. A selector gives an index of 0 to partitions - 1; the producer checks that of functions.
 */
import { DiasporaError } from '../errors.js';
import { checkKeys, integerOption, invalidOption } from '../options.js';
import { encodeJson } from './json.js';
import { compilePath } from './metadata-path.js';
import type { PartitionSelectorFunction, SelectionInfo } from './types.js';

type Select = PartitionSelectorFunction<unknown>;
/** Makes the selector of one producer of a topic with so many partitions. */
export type SelectorFactory = (partitions: number) => Select;

const stickyEvents = 1000;

function missing(path: unknown, wanted: string): DiasporaError {
  const place = Array.isArray(path) ? path.join('.') : String(path);
  return new DiasporaError('INVALID_METADATA', `the partition selector needs ${wanted} at '${place}' of the metadata`);
}

/**
 * FNV-1a of 32 bits over UTF-8, then the finalizer of MurmurHash3, since FNV's low bits alone spread short keys unevenly.
 * Stable for ever: events of one key stay in one partition.
 */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function hashSelector(config: Record<string, unknown>): SelectorFactory {
  const read = compilePath('path of the hash selector', config['path']);
  return (partitions) => (metadata) => {
    const value = read(metadata);
    if (value === undefined) throw missing(config['path'], 'a value');
    // The text of an object would depend on the order of its keys.
    if (typeof value === 'object' && value !== null)
      throw missing(config['path'], 'text, a number or another plain value');
    return hashText(encodeJson(value)) % partitions;
  };
}

/** How many of the ascending `bounds` are not above `value`. */
function countReached(bounds: readonly number[], value: number): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((bounds[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isAscending(bounds: unknown): bounds is number[] {
  return (
    Array.isArray(bounds) &&
    bounds.length > 0 &&
    bounds.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > (bounds[i - 1] as number)))
  );
}

function binOf(value: number, minimum: number, maximum: number, bins: number): number {
  const bin = Math.floor(((value - minimum) / (maximum - minimum)) * bins);
  return Math.min(Math.max(bin, 0), bins - 1);
}

function rangeSelector({ path, bounds: given, minimum, maximum }: Record<string, unknown>): SelectorFactory {
  const readAny = compilePath('path of the range selector', path);
  const read = (metadata: unknown): number => {
    const value = readAny(metadata);
    if (typeof value === 'number' && !Number.isNaN(value)) return value;
    throw missing(path, 'a number');
  };
  if (given !== undefined) {
    // One bound on a command line is no list.
    const bounds = typeof given === 'number' ? [given] : given;
    if (!isAscending(bounds)) throw invalidOption('bounds of the range selector', 'ascending numbers', bounds);
    return (partitions) => {
      if (bounds.length + 1 === partitions) return (metadata) => countReached(bounds, read(metadata));
      const needed = `${bounds.length} bounds need ${bounds.length + 1} partitions, the topic has ${partitions}`;
      throw new DiasporaError('INVALID_ARGUMENT', `range selector: ${needed}`);
    };
  }
  const isSpan = Number.isFinite(minimum) && Number.isFinite(maximum) && (minimum as number) < (maximum as number);
  if (!isSpan || !Number.isFinite((maximum as number) - (minimum as number))) {
    throw invalidOption('the range selector', 'given bounds, or a minimum below its maximum', { minimum, maximum });
  }
  return (partitions) => (metadata) => binOf(read(metadata), minimum as number, maximum as number, partitions);
}

function stickySelector(config: Record<string, unknown>): SelectorFactory {
  const limits = { min: 1, max: 2 ** 31, fallback: stickyEvents };
  const events = integerOption('events of the sticky selector', config['events'] as number | undefined, limits);
  return (partitions) => {
    let count = 0;
    return (_metadata, { requested }: SelectionInfo) => {
      if (requested !== undefined) return requested % partitions;
      const partition = Math.floor(count / events);
      count = count + 1 === events * partitions ? 0 : count + 1;
      return partition;
    };
  };
}

interface BuiltIn {
  readonly make: (config: Record<string, unknown>) => SelectorFactory;
  readonly keys: readonly string[];
  /** It goes by how many events it has seen, and never by their metadata. */
  readonly counts?: boolean;
}

const builtIns: Readonly<Record<string, BuiltIn>> = {
  hash: { make: hashSelector, keys: ['path'] },
  range: { make: rangeSelector, keys: ['path', 'bounds', 'minimum', 'maximum'] },
  sticky: { make: stickySelector, keys: ['events'], counts: true },
};

/** Whether it is a built-in selector that keeps count, and so has to see every event of its producer in turn. */
export function selectsByState({ type }: { readonly type: string }): boolean {
  return Object.hasOwn(builtIns, type) && builtIns[type]?.counts === true;
}

/** The built-in selector that `config` names. INVALID_ARGUMENT when there is none, or its configuration is wrong. */
export function builtInSelector(config: Record<string, unknown>): SelectorFactory {
  const { type } = config;
  const entry = typeof type === 'string' && Object.hasOwn(builtIns, type) ? builtIns[type] : undefined;
  if (entry === undefined) {
    const allowed = "'default', hash, range, sticky, a module, a function or { select }";
    throw invalidOption('partitionSelector', allowed, type);
  }
  checkKeys(`the ${String(type)} selector`, config, ['type', ...entry.keys]);
  return entry.make(config);
}
