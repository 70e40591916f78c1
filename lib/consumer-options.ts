/**
 * The options of a consumer: types, defaults and checks. Pure.
 */
import { BatchSize } from './batch-size.js';
import type { DataDescriptor } from './data-descriptor.js';
import type { DataAllocator, DataSelectorFunction } from './event-supply.js';
import { checkName } from './names.js';
import { checkKeys, choiceOption, functionOption, integerOption, invalidOption } from './options.js';
import type { EventData } from './stages/types.js';
import { ThreadPool } from './thread-pool.js';

/** Selects all data of every event: it is delivered with the metadata, without a round trip. */
export function fullData(_metadata: unknown, descriptor: DataDescriptor): DataDescriptor {
  return descriptor;
}

/**
 * Which data a consumer moves: `fullData` or `'full'` for everything, or a function that chooses per event. It runs on
 * the caller's thread, must be synchronous, and must not wait for futures. What it throws fails that event alone.
 */
export type DataSelector<T = unknown> = 'full' | DataSelectorFunction<T>;

/**
 * Where a consumer begins in a partition. `'cursor'`: behind what was acknowledged under its name, at the beginning when
 * nothing was; `'beginning'`: at the oldest event kept; `'end'`: behind what is stored when it starts; an event id; or a
 * time, as a Date or in milliseconds since 1970: at the first batch stored then or later by the server's clock, at the end
 * when there is none.
 */
export type ConsumerStart = 'cursor' | 'beginning' | 'end' | bigint | number | { readonly timestamp: Date | number };

/** Options of a consumer without an allocator. */
export interface ConsumerOptions<T = unknown> {
  /**
   * Identity of the cursor, and of the consumer group: consumers of one name continue each other, and share the partitions
   * while they are there together. 1 to 256 bytes. Required.
   */
  readonly name: string;
  /** Most events in one delivery. Default: adaptive, as many as fit. */
  readonly batchSize?: BatchSize | number;
  /**
   * Deliveries that the server may send ahead, 1 to 1024. A delivery is at most one stored batch, so events that were stored
   * a few at a time are read faster with more. Default: 2.
   */
  readonly maxNumBatches?: number;
  /** Memory for deliveries ahead, and for selected data ahead, bytes. Default: 64 MiB. */
  readonly windowBytes?: number;
  /** Default: none; no data is moved and `event.data` is undefined. */
  readonly dataSelector?: DataSelector<T>;
  /** Indices of the partitions to read, whatever others read. Default: all, or those that the group gives this member. */
  readonly partitions?: readonly number[];
  /** One for all partitions, or one for each of `partitions`. Default: 'cursor'. */
  readonly from?: ConsumerStart | readonly ConsumerStart[];
  /**
   * Whether the partitions are shared with the other consumers of the name. Default: true, unless `partitions` or `from`
   * say what to read; INVALID_ARGUMENT with either of them.
   */
  readonly group?: boolean;
  /**
   * How long the group waits for a member whose connection is lost, before others get its partitions, milliseconds, 100
   * to 600000. A process that ends lets go at once. Default: 3000.
   */
  readonly sessionTimeoutMs?: number;
  /**
   * How long this member may take to finish with partitions that another is to get, milliseconds, 100 to 3600000; then
   * they are taken away and its acknowledgements of them fail with FENCED. Default: 30000.
   */
  readonly rebalanceTimeoutMs?: number;
  /** Called with the partitions that this member was given. */
  readonly onAssign?: (partitions: readonly number[]) => void;
  /**
   * Called with partitions that another member is to get, before they are given up: the last moment to acknowledge their
   * events. What it returns is awaited. It is called when their events are acknowledged or when the next event is asked
   * for.
   */
  readonly onRevoke?: (partitions: readonly number[]) => void | Promise<void>;
  /**
   * When the event to come next is not kept any more: because the consumer fell behind the topic's retention, or its
   * cursor or `from` is older than that. `'error'`: the partition fails with OFFSET_OUT_OF_RANGE, which names the oldest
   * event kept. `'oldest'`: it goes on there, and the ids jump. Default: 'error'.
   */
  readonly onOffsetOutOfRange?: 'error' | 'oldest';
  /** Accepted, and without effect: what is stored is read on the caller's thread, when `event.metadata` is asked for. */
  readonly threadPool?: ThreadPool;
}

/** Options of a consumer whose data goes into memory of the caller's. */
export interface AllocatingConsumerOptions<T, D extends EventData> extends Omit<ConsumerOptions<T>, 'dataSelector'> {
  readonly dataSelector: DataSelector<T>;
  /** Called for each event behind the selector; the sizes of what it gives must add up to `descriptor.size`. */
  readonly dataAllocator: DataAllocator<T, D>;
}

const optionNames = [
  'name',
  'batchSize',
  'maxNumBatches',
  'windowBytes',
  'dataSelector',
  'dataAllocator',
  'partitions',
  'from',
  'group',
  'sessionTimeoutMs',
  'rebalanceTimeoutMs',
  'onAssign',
  'onRevoke',
  'onOffsetOutOfRange',
  'threadPool',
] as const satisfies readonly (keyof AllocatingConsumerOptions<unknown, EventData>)[];

/** How a member takes part in its group. Internal. */
export interface GroupSettings {
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly onAssign: ((partitions: readonly number[]) => void) | undefined;
  readonly onRevoke: ((partitions: readonly number[]) => void | Promise<void>) | undefined;
}

/** Options, read and checked. Internal. */
export interface ConsumerSettings {
  readonly name: string;
  readonly batchSize: BatchSize;
  readonly maxNumBatches: number;
  readonly windowBytes: number;
  /** All data is delivered with the metadata. */
  readonly fullData: boolean;
  readonly dataSelector: DataSelectorFunction<never> | undefined;
  readonly dataAllocator: DataAllocator<never, EventData> | undefined;
  /** Undefined: it reads `partitions` whoever else does. */
  readonly group: GroupSettings | undefined;
  /** To read; empty for the member of a group. */
  readonly partitions: readonly number[];
  /** Per requested partition, as the core wants it: an id, -1 for the cursor, -2 for the end, -3 for the beginning. */
  readonly start: readonly number[];
  readonly startTimeMs: readonly number[];
  readonly oldestIfDropped: boolean;
  readonly threadPool: ThreadPool | undefined;
}

/** Those that are meant: all when none are given. @internal */
export function readPartitions(given: readonly number[] | undefined, count: number): readonly number[] {
  if (given === undefined) return Array.from({ length: count }, (_, index) => index);
  if (!Array.isArray(given) || given.length === 0) throw invalidOption('partitions', 'a list of partitions', given);
  const seen = new Set<number>();
  for (const partition of given) {
    if (!Number.isInteger(partition) || partition < 0 || partition >= count) {
      throw invalidOption('each of partitions', `an integer of 0 to ${count - 1}`, partition, 'INVALID_PARTITION');
    }
    seen.add(partition);
  }
  if (seen.size !== given.length) throw invalidOption('partitions', 'a list without repetitions', given.join(', '));
  return [...given];
}

/** The 278 years from 1970 on that are nanoseconds in 63 bits. */
const timestampMax = 2 ** 43 - 1;

/** Milliseconds since 1970; -1 when it is not a time. @internal */
export function readStartTime(from: ConsumerStart): number {
  if (typeof from !== 'object' || from === null) return -1;
  const { timestamp } = checkKeys('from', from, ['timestamp']);
  const ms = timestamp instanceof Date ? timestamp.getTime() : timestamp;
  if (Number.isInteger(ms) && ms >= 0 && ms <= timestampMax) return ms;
  throw invalidOption('from.timestamp', 'a Date or whole milliseconds since 1970', timestamp);
}

/** As the core wants it; -1 for a time. @internal */
export function readStart(from: ConsumerStart): number {
  if (typeof from === 'object' && from !== null) return -1;
  if (from === 'cursor') return -1;
  if (from === 'beginning') return -3;
  if (from === 'end') return -2;
  const id = typeof from === 'bigint' ? Number(from) : from;
  if (Number.isSafeInteger(id) && id >= 0) return id;
  throw invalidOption('from', "'cursor', 'beginning', 'end', an event id or { timestamp }", from);
}

function readStarts(
  from: ConsumerOptions['from'],
  partitions: readonly number[],
): Pick<ConsumerSettings, 'start' | 'startTimeMs'> {
  const starts = Array.isArray(from) ? from : partitions.map(() => (from ?? 'cursor') as ConsumerStart);
  if (starts.length !== partitions.length) throw invalidOption('from', 'as long as partitions', starts.length);
  return { start: starts.map(readStart), startTimeMs: starts.map(readStartTime) };
}

const groupOptions = ['sessionTimeoutMs', 'rebalanceTimeoutMs', 'onAssign', 'onRevoke'] as const;

function readGroup(
  options: Partial<Omit<AllocatingConsumerOptions<never, EventData>, 'dataSelector' | 'dataAllocator'>>,
): GroupSettings | undefined {
  const { group, partitions, from } = options;
  if (group !== undefined && typeof group !== 'boolean') throw invalidOption('group', 'a boolean', group);
  const isFixed = partitions !== undefined || (from !== undefined && from !== 'cursor');
  if (group === true && isFixed) throw invalidOption('group', 'false with partitions or from', group);
  if (group === false || isFixed) {
    const unused = groupOptions.find((name) => options[name] !== undefined);
    if (unused !== undefined)
      throw invalidOption(unused, 'left out by a consumer that is not in a group', options[unused]);
    return undefined;
  }
  const { sessionTimeoutMs, rebalanceTimeoutMs, onAssign, onRevoke } = options;
  return {
    sessionTimeoutMs: integerOption('sessionTimeoutMs', sessionTimeoutMs, { min: 100, max: 600_000, fallback: 3000 }),
    rebalanceTimeoutMs: integerOption('rebalanceTimeoutMs', rebalanceTimeoutMs, {
      min: 100,
      max: 3_600_000,
      fallback: 30_000,
    }),
    onAssign: functionOption('onAssign', onAssign),
    onRevoke: functionOption('onRevoke', onRevoke),
  };
}

/** Reads the options for a topic of `partitionCount` partitions. @internal */
export function consumerSettings(
  given: ConsumerOptions<never> | AllocatingConsumerOptions<never, EventData>,
  partitionCount: number,
): ConsumerSettings {
  const options: Partial<AllocatingConsumerOptions<never, EventData>> = checkKeys('a consumer', given, optionNames);
  const { dataSelector, dataAllocator, threadPool } = options;
  if (threadPool !== undefined && !(threadPool instanceof ThreadPool)) {
    throw invalidOption('threadPool', 'a ThreadPool', threadPool);
  }
  const selector = dataSelector === 'full' ? fullData : functionOption('dataSelector', dataSelector);
  if (dataAllocator !== undefined && selector === undefined) {
    throw invalidOption('dataSelector', 'given when there is a dataAllocator', dataSelector);
  }
  const group = readGroup(options);
  const partitions = group === undefined ? readPartitions(options.partitions, partitionCount) : [];
  // With an allocator of the caller's, even all data must go where it says: that is a fetch.
  const direct = selector === fullData && dataAllocator === undefined;
  return {
    name: checkName('consumer', options.name),
    batchSize: BatchSize.from(options.batchSize),
    maxNumBatches: integerOption('maxNumBatches', options.maxNumBatches, { min: 1, max: 1024, fallback: 2 }),
    windowBytes: integerOption('windowBytes', options.windowBytes, { min: 4096, fallback: 64 * 1024 * 1024 }),
    fullData: direct,
    dataSelector: direct ? undefined : selector,
    dataAllocator: functionOption('dataAllocator', dataAllocator),
    group,
    partitions,
    ...readStarts(options.from, partitions),
    oldestIfDropped:
      choiceOption('onOffsetOutOfRange', options.onOffsetOutOfRange, ['error', 'oldest'], 'error') === 'oldest',
    threadPool,
  };
}
