/**
 * forward: copies the events of one topic to another, of any two drivers, as they come.
 *
 * An event is acknowledged to the source when the target has stored it, in order, so nothing is lost whatever happens;
 * and when forwarding ends in order (a signal, a limit, an idle time) everything that was pushed is stored and
 * acknowledged first, so that the next run begins behind it and nothing is there twice. The same holds when an event is
 * refused or cannot be read: nothing behind it is pushed. Only when the target fails while events are in flight, or the
 * process is killed, may those be stored again.
 */
import type { Consumer } from './consumer.js';
import { type DataSelector, fullData } from './consumer-options.js';
import { DiasporaError } from './errors.js';
import type { Event, EventBatch } from './event.js';
import { booleanOption, checkKeys, integerOption, invalidOption, stringOption } from './options.js';
import type { Producer } from './producer.js';
import { type Pushed, pushWhenReady } from './push-when-ready.js';
import type { TopicHandle } from './topic-handle.js';

/** Options of {@link forward}. `T`: the metadata of the source. */
export interface ForwardOptions<T = unknown> {
  /**
   * Name of the consumer at the source, which remembers how far it came; forwards of one name, also in several processes,
   * share the source's partitions. Default: 'forward.' and the target's uuid.
   */
  readonly name?: string;
  /** Whether data goes along. Default: true. */
  readonly data?: boolean;
  /** What of each event's data goes along. Default: all of it. */
  readonly dataSelector?: DataSelector<T>;
  /**
   * Store each event in the partition of the same index; for targets whose partition selector is `default` or `sticky`.
   * Default: false, the target's selector decides.
   */
  readonly keepPartition?: boolean;
  /** Ends it, in order: what was pushed is waited for, as long as the target's driver tries to reach its servers. */
  readonly signal?: AbortSignal;
  /** Ends it when no event came for so long, milliseconds. Default: never. */
  readonly idleTimeoutMs?: number;
}

const optionNames = ['name', 'data', 'dataSelector', 'keepPartition', 'signal', 'idleTimeoutMs'] as const;

/** Runs of events that are pushed and not yet acknowledged: enough to keep both sides busy. */
const runsInFlightMax = 8;

type Copied = Event<unknown, Buffer | undefined>;
interface PushedEvent extends Pushed {
  readonly event: Copied;
}

class Forwarding {
  count = 0;
  readonly #producer: Producer<unknown>;
  readonly #isText: boolean;
  readonly #keepPartition: boolean;
  readonly #inFlight: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(source: Pick<TopicHandle, 'serializer'>, producer: Producer<unknown>, keepPartition: boolean) {
    this.#producer = producer;
    this.#isText = ['default', 'json', 'raw'].includes(source.serializer.type);
    this.#keepPartition = keepPartition;
  }

  /** Pushes a run up to the first event that is refused, whose error it rejects with; or with one of an earlier run. */
  async take(run: EventBatch<unknown, Buffer | undefined>): Promise<void> {
    const pushed: PushedEvent[] = [];
    try {
      for (const event of run.events) pushed.push(await this.#push(event));
    } finally {
      this.#acknowledgeLater(pushed);
    }
    if (this.#inFlight.length >= runsInFlightMax) await this.#inFlight.shift();
  }

  /** Everything pushed is stored and acknowledged, or this rejects with why it is not. */
  async end(): Promise<void> {
    this.#producer.flush();
    await this.#last;
  }

  /** Rejects with what refuses the event at once: nothing behind it is pushed. */
  async #push(event: Copied): Promise<PushedEvent> {
    const options = this.#keepPartition ? { partition: event.partition } : undefined;
    const { stored } = await pushWhenReady(this.#producer, this.#metadataOf(event), event.data, options);
    if (stored.completed) stored.wait(0);
    return { event, stored };
  }

  /** Text is taken over byte for byte where the source stores text. */
  #metadataOf(event: Copied): unknown {
    if (this.#isText) return event.metadataText;
    const { metadata } = event;
    return typeof metadata === 'string' ? JSON.stringify(metadata) : metadata;
  }

  #acknowledgeLater(pushed: readonly PushedEvent[]): void {
    if (pushed.length === 0) return;
    const before = this.#last;
    this.#last = (async (): Promise<void> => {
      await before;
      let last: Copied | undefined;
      try {
        for (const { event, stored } of pushed) {
          await stored;
          last = event;
          this.count += 1;
        }
      } finally {
        await last?.acknowledge();
      }
    })();
    // Looked at by take() or end().
    this.#last.catch(() => undefined);
    this.#inFlight.push(this.#last);
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
    if (!isAbort(error, limits.signal)) {
      // What was pushed before it counts, and the first error is the one to tell.
      await forwarding.end();
      throw error;
    }
  }
  await forwarding.end();
}

type Target = Pick<TopicHandle, 'name' | 'uuid' | 'partitions' | 'partitionSelector' | 'producer'>;

function checkPartitions(source: Pick<TopicHandle, 'name' | 'partitions'>, target: Target): void {
  if (source.partitions > target.partitions) {
    const counts = `'${source.name}' has ${source.partitions}, '${target.name}' only ${target.partitions}`;
    throw new DiasporaError('INVALID_ARGUMENT', `keepPartition: topic ${counts} partitions`);
  }
  const { type } = target.partitionSelector;
  if (type === 'default' || type === 'sticky') return;
  throw new DiasporaError('INVALID_ARGUMENT', `keepPartition: '${target.name}' has the partition selector '${type}'`);
}

/**
 * Copies the events of `source` to `target` until it is told to end, or `source` is complete and at its end; resolves with how many were. Rejects with the first
 * error of either side; what was stored before it is acknowledged, and a later call goes on behind it. INVALID_ARGUMENT
 * for wrong options.
 */
export async function forward<T>(source: TopicHandle<T>, target: Target, given?: ForwardOptions<T>): Promise<number> {
  const options = checkKeys('forward', given, optionNames);
  const name = stringOption('name', options.name, `forward.${target.uuid}`);
  const keepPartition = booleanOption('keepPartition', options.keepPartition, false);
  if (keepPartition) checkPartitions(source, target);
  const withData = booleanOption('data', options.data, true);
  const { dataSelector = fullData, signal, idleTimeoutMs } = options;
  if (!withData && options.dataSelector !== undefined) {
    throw invalidOption('dataSelector', 'absent when data is false', options.dataSelector);
  }
  const limits = {
    ...(signal === undefined ? {} : { signal }),
    ...(idleTimeoutMs === undefined
      ? {}
      : { idleTimeoutMs: integerOption('idleTimeoutMs', idleTimeoutMs, { min: 0, fallback: 0 }) }),
  };
  let forwarding: Forwarding | undefined;
  const consumer = source.consumer({
    name,
    ...(withData ? { dataSelector } : {}),
    // Another forward of this name takes over: it begins behind what is acknowledged, which must be all that was pushed.
    onRevoke: async () => forwarding?.end(),
  });
  let producer: Producer<unknown> | undefined;
  try {
    producer = target.producer() as unknown as Producer<unknown>;
    forwarding = new Forwarding(source, producer, keepPartition);
    await copyAll(consumer as unknown as Consumer<unknown, Buffer | undefined>, forwarding, limits);
    return forwarding.count;
  } finally {
    await Promise.allSettled([consumer.close(), producer?.close()]);
  }
}
