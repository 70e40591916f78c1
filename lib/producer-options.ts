/**
 * The options of a producer and of a push: types, defaults and checks. Pure.
 */
import { BatchSize } from './batch-size.js';
import type { DiasporaError } from './errors.js';
import { checkName } from './names.js';
import { booleanOption, checkKeys, choiceOption, functionOption, integerOption, invalidOption } from './options.js';
import { Ordering } from './ordering.js';
import { ThreadPool } from './thread-pool.js';

/** Position of an event in its partition: 0, 1, 2, ... without gaps. */
export type EventId = bigint;

/** Options of one push. */
export interface PushOptions {
  /**
   * The partition that is wished for; the topic's partition selector decides. The default selector takes it modulo the
   * number of partitions.
   */
  readonly partition?: number;
}

/** Options of a producer. */
export interface ProducerOptions {
  /** For people; 1 to 256 bytes. Default: none. */
  readonly name?: string;
  /** Events in a batch. Default: adaptive. */
  readonly batchSize?: BatchSize | number;
  /** Batches in flight per partition before the producer stops to be ready, 1 to 1024. Default: 2. */
  readonly maxNumBatches?: number;
  /** Default: strict. */
  readonly ordering?: Ordering;
  /**
   * Where the topic's validator, partition selector and serializer run, if none of them is a function or object of this
   * process or looks at data. Default: the caller's thread. Made by `driver.makeThreadPool`; any number of producers
   * share one.
   */
  readonly threadPool?: ThreadPool;
  /** With a fixed batch size: milliseconds after which a batch that is not full is sent. Default: 5. */
  readonly lingerMs?: number;
  /** Parse every text that is pushed, so that none is stored that is not JSON. Default: false (see {@link Producer.push}). */
  readonly checkJson?: boolean;
  /** Told of every push and batch that failed, whether or not somebody looks at its future. */
  readonly onError?: (error: DiasporaError) => void;
}

const optionNames = [
  'name',
  'batchSize',
  'maxNumBatches',
  'ordering',
  'threadPool',
  'lingerMs',
  'checkJson',
  'onError',
] as const satisfies readonly (keyof ProducerOptions)[];

/** Options, read and checked. Internal. */
export interface ProducerSettings {
  readonly name: string;
  readonly batchSize: BatchSize;
  readonly maxNumBatches: number;
  readonly ordering: Ordering;
  readonly threadPool: ThreadPool | undefined;
  readonly lingerMs: number;
  readonly checkJson: boolean;
  readonly onError: ((error: DiasporaError) => void) | undefined;
}

/** @internal */
export function producerSettings(given: ProducerOptions | undefined): ProducerSettings {
  const options = checkKeys('a producer', given, optionNames);
  if (options.threadPool !== undefined && !(options.threadPool instanceof ThreadPool)) {
    throw invalidOption('threadPool', 'a ThreadPool', options.threadPool);
  }
  return {
    name: options.name === undefined ? '' : checkName('producer', options.name),
    batchSize: BatchSize.from(options.batchSize),
    maxNumBatches: integerOption('maxNumBatches', options.maxNumBatches, { min: 1, max: 1024, fallback: 2 }),
    ordering: choiceOption('ordering', options.ordering, Object.values(Ordering), Ordering.Strict),
    threadPool: options.threadPool,
    lingerMs: integerOption('lingerMs', options.lingerMs, { min: 0, max: 2 ** 31 - 1, fallback: 5 }),
    checkJson: booleanOption('checkJson', options.checkJson, false),
    onError: functionOption('onError', options.onError),
  };
}
