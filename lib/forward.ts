/**
 * forward: copies the events of one topic to another, of any two drivers, as they come.
 *
 * An event is acknowledged to the source when the target has stored it, in order, so nothing is lost whatever happens;
 * and when forwarding ends in order (a signal, a limit, an idle time) everything that was pushed is stored and
 * acknowledged first, so that the next run begins behind it and nothing is there twice. A process that is killed leaves
 * at most the batches then in flight to be stored again.
 */
import type { Consumer } from './consumer.js';
import { fullData } from './consumer-options.js';
import { DiasporaError } from './errors.js';
import type { Event, EventBatch } from './event.js';
import type { DataSelectorFunction } from './event-supply.js';
import { booleanOption, checkKeys, functionOption, integerOption, stringOption } from './options.js';
import type { Producer } from './producer.js';
import type { TopicHandle } from './topic-handle.js';

/** Options of {@link forward}. */
export interface ForwardOptions {
  /** Name of the consumer at the source, which remembers how far it came. Default: 'SOURCE->TARGET'. */
  readonly name?: string;
  /** Whether data goes along. Default: true. */
  readonly data?: boolean;
  /** What of each event's data goes along. Default: all of it. */
  readonly dataSelector?: DataSelectorFunction<unknown>;
  /** Push to the partition of the same index, whatever the target's selector would say by itself. Default: false. */
  readonly keepPartition?: boolean;
  /** Ends it, in order. */
  readonly signal?: AbortSignal;
  /** Ends it when no event came for so long, milliseconds. Default: never. */
  readonly idleTimeoutMs?: number;
}

const optionNames = ['name', 'data', 'dataSelector', 'keepPartition', 'signal', 'idleTimeoutMs'] as const;

/** Runs of events that are pushed and not yet acknowledged: enough to keep both sides busy. */
const runsInFlightMax = 8;

type Copied = Event<unknown, Buffer | undefined>;

/** Text is taken over byte for byte where the source stores text. */
function textOf(event: Copied, isText: boolean): string {
  return isText ? event.metadataText : JSON.stringify(event.metadata);
}

class Forwarding {
  count = 0;
  readonly #producer: Producer<unknown>;
  readonly #isText: boolean;
  readonly #keepPartition: boolean;
  #inFlight: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(source: TopicHandle, producer: Producer<unknown>, keepPartition: boolean) {
    this.#producer = producer;
    this.#isText = ['default', 'json', 'raw'].includes(source.serializer.type);
    this.#keepPartition = keepPartition;
  }

  /** Pushes a run; resolves when there is room for another. Rejects with the first error of an earlier one. */
  async take(run: EventBatch<unknown, Buffer | undefined>): Promise<void> {
    const stored = run.events.map((event) => {
      const options = this.#keepPartition ? { partition: event.partition } : undefined;
      return this.#producer.push(textOf(event, this.#isText), event.data, options);
    });
    const before = this.#last;
    this.#last = (async (): Promise<void> => {
      await before;
      for (const future of stored) await future;
      await run.acknowledge();
      this.count += run.length;
    })();
    // Looked at below, or in end().
    this.#last.catch(() => undefined);
    this.#inFlight.push(this.#last);
    if (this.#inFlight.length >= runsInFlightMax) await this.#inFlight.shift();
    await this.#producer.ready;
  }

  /** Everything taken is stored and acknowledged. */
  async end(): Promise<void> {
    this.#producer.flush();
    await this.#last;
  }
}

function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && error instanceof DiasporaError && error.code === 'ABORTED';
}

async function copyAll(
  consumer: Consumer<unknown, Buffer | undefined>,
  forwarding: Forwarding,
  limits: { signal?: AbortSignal; idleTimeoutMs?: number },
): Promise<void> {
  try {
    for await (const run of consumer.batches(limits)) await forwarding.take(run);
  } catch (error) {
    if (!isAbort(error, limits.signal)) throw error;
  }
  await forwarding.end();
}

/**
 * Copies the events of `source` to `target` until it is told to end; resolves with how many were. Rejects with the first
 * error of either side; what was stored by then is acknowledged, and a later call goes on behind it.
 */
export async function forward(source: TopicHandle, target: TopicHandle, given?: ForwardOptions): Promise<number> {
  const options = checkKeys('forward', given, optionNames);
  const name = stringOption('name', options.name, `${source.name}->${target.name}`);
  const keepPartition = booleanOption('keepPartition', options.keepPartition, false);
  if (keepPartition && source.partitions > target.partitions) {
    const counts = `'${source.name}' has ${source.partitions}, '${target.name}' only ${target.partitions}`;
    throw new DiasporaError('INVALID_ARGUMENT', `keepPartition: topic ${counts} partitions`);
  }
  const dataSelector = functionOption('dataSelector', options.dataSelector) ?? fullData;
  const withData = booleanOption('data', options.data, true);
  const limits = {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.idleTimeoutMs === undefined
      ? {}
      : { idleTimeoutMs: integerOption('idleTimeoutMs', options.idleTimeoutMs, { min: 0, fallback: 0 }) }),
  };
  const producer = target.producer();
  const consumer = source.consumer({ name, ...(withData ? { dataSelector } : {}) });
  const forwarding = new Forwarding(source, producer as Producer<unknown>, keepPartition);
  try {
    await copyAll(consumer, forwarding, limits);
  } finally {
    await Promise.allSettled([consumer.close(), producer.close()]);
  }
  return forwarding.count;
}
