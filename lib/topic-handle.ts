/**
 * TopicHandle: an open topic; makes producers and consumers for it.
 */

import type { Compression, StoredCompression } from './compression.js';
import { Consumer } from './consumer.js';
import {
  type AllocatingConsumerOptions,
  type ConsumerOptions,
  type ConsumerStart,
  consumerSettings,
  readPartitions,
  readStart,
} from './consumer-options.js';
import type { Driver } from './driver.js';
import type { Connection } from './drivers/connection.js';
import { DiasporaError } from './errors.js';
import { checkName } from './names.js';
import type { NativePartitionStatus, NativeProducer, NativeTopicEntry } from './native.js';
import { invalidOption } from './options.js';
import { Producer } from './producer.js';
import { type ProducerOptions, producerSettings } from './producer-options.js';
import type { StageSetup } from './stages/stage-setup.js';
import type { StageConfig, Stages } from './stages/stages.js';
import type { EventData } from './stages/types.js';

/** When an event is acknowledged: in the server's memory, handed to its operating system, or synced to the device. */
export type Durability = NativeTopicEntry['durability'];
/** What keeps the events of a partition: a log on disk, or memory. */
export type PartitionManager = NativeTopicEntry['manager'];

/**
 * How much of each partition is kept. Without a bound everything is. What exceeds one is dropped from the oldest event
 * on, whether it was consumed or not.
 */
export interface Retention {
  /** Events older than so many milliseconds are dropped, up to a quarter later. 1 to 2^43 - 1. Default: no bound. */
  readonly ageMs?: number;
  /** Bound on the stored bytes of one partition, its newest batches aside. At least 1. Default: no bound. */
  readonly bytes?: number;
}

/** Whether a topic takes events: `complete` when it was completed (`driver.completeTopic`). */
export type TopicState = 'active' | 'complete';

/** One partition as it is now. */
export interface PartitionDescription {
  readonly partition: number;
  /** uuid of the server that owns it. */
  readonly server: string;
  /** Id of the oldest event kept. */
  readonly firstId: bigint;
  /** Id that the next event gets. */
  readonly nextId: bigint;
}

/** How far a consumer has come in one partition. */
export interface ConsumerPosition {
  readonly partition: number;
  /** Id of the first event that is not acknowledged. */
  readonly nextId: bigint;
  /** Events that are stored and not acknowledged: those behind `nextId` that are still kept. */
  readonly lag: bigint;
}

/** A consumer name that has acknowledged something, and how far it has come; partitions where it has not are left out. */
export interface ConsumerDescription {
  readonly name: string;
  readonly positions: readonly ConsumerPosition[];
  /** Over all partitions of the topic, also those where nothing is acknowledged. */
  readonly lag: bigint;
}

/** A topic as it is now. */
export interface TopicDescription {
  readonly name: string;
  readonly uuid: string;
  readonly state: TopicState;
  readonly durability: Durability;
  readonly manager: PartitionManager;
  readonly retention: Retention;
  readonly partitions: readonly PartitionDescription[];
}

/** Something that its driver closes. Internal. */
export interface Child {
  close(): Promise<void>;
  destroy(): void;
}

/** What a handle is made of. Internal. */
export interface TopicParts {
  readonly driver: Driver;
  readonly connection: Connection;
  readonly entry: NativeTopicEntry;
  readonly stages: Stages;
  readonly compression: StoredCompression | undefined;
  /** For workers; undefined: the stages run on the caller's thread. */
  readonly setup: StageSetup | undefined;
  /** INVALID_STATE when the driver is no longer open. */
  readonly requireOpen: () => void;
  /** The topic's entry as it is now; that of another topic when it was deleted and created again. TOPIC_NOT_FOUND. */
  readonly refresh: () => Promise<NativeTopicEntry>;
  /** Lets the driver close a child; what is returned takes it out again. */
  readonly adopt: (child: WeakRef<Child>) => () => void;
}

function retentionOf({ retentionAgeMs, retentionBytes }: NativeTopicEntry): Retention {
  return {
    ...(retentionAgeMs === 0 ? {} : { ageMs: retentionAgeMs }),
    ...(retentionBytes === 0 ? {} : { bytes: retentionBytes }),
  };
}

function describeConsumer(
  name: string,
  cursors: ReadonlyMap<number, bigint>,
  partitions: readonly PartitionDescription[],
): ConsumerDescription {
  const positions: ConsumerPosition[] = [];
  let total = 0n;
  for (const { partition, firstId, nextId: end } of partitions) {
    const cursor = cursors.get(partition);
    const start = cursor === undefined || cursor < firstId ? firstId : cursor;
    // Acknowledged after the partition was described: nothing is left of what was seen then.
    const lag = start < end ? end - start : 0n;
    total += lag;
    if (cursor !== undefined) positions.push({ partition, nextId: cursor, lag });
  }
  return { name, positions, lag: total };
}

/** An open topic. `Out`: the metadata that consumers get; `In`: what producers push. */
export class TopicHandle<Out = unknown, In = Out> {
  readonly #parts: TopicParts;
  /** Server index of each partition. */
  readonly #placement: readonly number[];

  /** @internal Use `driver.openTopic()`. */
  constructor(parts: TopicParts) {
    this.#parts = parts;
    const { connection, entry } = parts;
    this.#placement = entry.placement.map((uuid) => connection.serverIndex(uuid, entry.name));
  }

  get name(): string {
    return this.#parts.entry.name;
  }

  /** 32 hexadecimal digits; a topic that is deleted and created again has another. */
  get uuid(): string {
    return this.#parts.entry.uuid;
  }

  /** The driver that opened it. */
  get driver(): Driver {
    return this.#parts.driver;
  }

  /** Number of partitions when the topic was opened; `describe()` tells how many there are now. */
  get partitions(): number {
    return this.#parts.entry.partitions;
  }

  get durability(): Durability {
    return this.#parts.entry.durability;
  }

  get manager(): PartitionManager {
    return this.#parts.entry.manager;
  }

  /** How the metadata of batches is compressed. */
  get compression(): Compression {
    return this.#parts.compression ?? 'none';
  }

  /** How much of each partition is kept; empty: everything. */
  get retention(): Retention {
    return retentionOf(this.#parts.entry);
  }

  /** The validator as it is stored: its type and configuration; type `local` for a function of some process. */
  get validator(): StageConfig {
    return this.#parts.stages.configOf('validator');
  }

  /** The partition selector as it is stored. */
  get partitionSelector(): StageConfig {
    return this.#parts.stages.configOf('partitionSelector');
  }

  /** The serializer as it is stored. */
  get serializer(): StageConfig {
    return this.#parts.stages.configOf('serializer');
  }

  /** Makes a producer; any number of them may write at the same time. Throws INVALID_ARGUMENT, INVALID_NAME, INVALID_STATE. */
  producer(options?: ProducerOptions): Producer<In> {
    const { connection, entry, stages, setup, requireOpen, adopt } = this.#parts;
    requireOpen();
    const settings = producerSettings(options);
    stages.require(entry.name, ['validator', 'partitionSelector', 'serializer']);
    const selector = stages.makeSelector(entry.partitions);
    const native: NativeProducer = connection.runtime.binding.producerOpen(connection.native, {
      topicUuid: entry.uuid,
      placement: [...this.#placement],
      batchEvents: settings.batchSize.events,
      maxNumBatches: settings.maxNumBatches,
      compressionLevel: this.#parts.compression?.level ?? 0,
    });
    let release = (): void => undefined;
    const producer = new Producer<In>({
      runtime: connection.runtime,
      native,
      topic: entry.name,
      partitions: entry.partitions,
      stages,
      selector,
      settings,
      setup,
      room: connection.room,
      onClosed: () => release(),
    });
    release = adopt(new WeakRef(producer));
    return producer;
  }

  /**
   * Makes a consumer. Those of one name share the partitions, unless `partitions`, `from` or `group: false` say otherwise.
   * Without a data selector no data is moved; `fullData` moves everything; with an allocator it goes into your memory.
   * Throws INVALID_ARGUMENT, INVALID_NAME, INVALID_PARTITION, INVALID_STATE.
   */
  consumer<D extends EventData>(options: AllocatingConsumerOptions<Out, D>): Consumer<Out, D>;
  consumer(options: ConsumerOptions<Out> & { readonly dataSelector?: undefined }): Consumer<Out, undefined>;
  consumer(options: ConsumerOptions<Out> & Required<Pick<ConsumerOptions<Out>, 'dataSelector'>>): Consumer<Out, Buffer>;
  consumer(options: ConsumerOptions<Out>): Consumer<Out, Buffer | undefined>;
  consumer(options: ConsumerOptions<Out> | AllocatingConsumerOptions<Out, EventData>): Consumer<Out, never> {
    const { connection, entry, stages, requireOpen, adopt } = this.#parts;
    requireOpen();
    const settings = consumerSettings(options, entry.partitions);
    stages.require(entry.name, ['serializer']);
    const native = {
      topicUuid: entry.uuid,
      name: settings.name,
      placement: [...this.#placement],
      partitions: [...settings.partitions],
      start: [...settings.start],
      ...(settings.group === undefined ? {} : { member: settings.group }),
      startTimeMs: [...settings.startTimeMs],
      fullData: settings.fullData,
      oldestIfDropped: settings.oldestIfDropped,
      batchEvents: settings.batchSize.events,
      windowBytes: settings.windowBytes,
      maxNumBatches: settings.maxNumBatches,
    };
    let release = (): void => undefined;
    const consumer = new Consumer<Out, never>({
      runtime: connection.runtime,
      topic: entry.name,
      stages,
      settings,
      open: (request) => connection.runtime.binding.consumerOpen(request, connection.native, native),
      onClosed: () => release(),
    });
    release = adopt(new WeakRef(consumer));
    return consumer;
  }

  /**
   * The consumers that have acknowledged events of this topic, by name, and how far each has come; with `name` only that
   * one. Rejects with TOPIC_NOT_FOUND when the topic was deleted meanwhile.
   */
  async consumers(name?: string): Promise<ConsumerDescription[]> {
    const { connection, entry } = this.#parts;
    const wanted = name === undefined ? '' : checkName('consumer', name);
    const { partitions } = await this.describe();
    const owners = this.#owners(partitions.map(({ server }) => server));
    const answers = await Promise.all(
      owners.map((server) => connection.topicCursors(server, entry.uuid, entry.name, wanted)),
    );
    const cursors = new Map<string, Map<number, bigint>>();
    for (const { consumer, partition, nextId } of answers.flat()) {
      const known = cursors.get(consumer) ?? new Map<number, bigint>();
      cursors.set(consumer, known.set(partition, BigInt(nextId)));
    }
    return [...cursors]
      .map(([consumer, positions]) => describeConsumer(consumer, positions, partitions))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Sets the cursor of a consumer name, also backwards: whoever reads with `from: 'cursor'` begins there. `to`:
   * `'beginning'`, `'end'` or the id of the first event to read. Without `partitions`: all of them.
   *
   * Rejects with INVALID_STATE while a consumer of that name reads one of the partitions (those before it in the list are
   * set), OFFSET_OUT_OF_RANGE, INVALID_NAME, INVALID_PARTITION, INVALID_ARGUMENT.
   */
  async resetConsumer(
    name: string,
    to: Exclude<ConsumerStart, 'cursor' | object>,
    partitions?: readonly number[],
  ): Promise<void> {
    const { connection, entry, requireOpen } = this.#parts;
    requireOpen();
    const consumer = checkName('consumer', name);
    const start = readStart(to);
    if (start === -1) throw invalidOption('to', "'beginning', 'end' or an event id", to);
    for (const partition of readPartitions(partitions, entry.partitions)) {
      const server = this.#placement[partition] as number;
      await connection.cursorSet(server, entry.name, { topicUuid: entry.uuid, partition, consumer, start });
    }
  }

  /** The topic and its partitions as they are now. Rejects with TOPIC_NOT_FOUND when it was deleted meanwhile. */
  async describe(): Promise<TopicDescription> {
    const { connection, refresh, requireOpen } = this.#parts;
    requireOpen();
    const entry = await refresh();
    if (entry.uuid !== this.uuid) {
      throw new DiasporaError('TOPIC_NOT_FOUND', `topic '${this.name}' was deleted`, { topic: this.name });
    }
    const owners = this.#owners(entry.placement);
    const answers = await Promise.all(owners.map((server) => connection.topicStatus(server, entry.uuid, entry.name)));
    const byPartition = new Map<number, NativePartitionStatus>();
    for (const answer of answers) for (const status of answer) byPartition.set(status.partition, status);
    const partitions = entry.placement.map((server, partition): PartitionDescription => {
      const status = byPartition.get(partition);
      if (status === undefined) {
        throw new DiasporaError('PROTOCOL', `server ${server} did not report its partition ${partition}`, {
          topic: entry.name,
          partition,
        });
      }
      return { partition, server, firstId: BigInt(status.firstId), nextId: BigInt(status.nextId) };
    });
    const { name, uuid, durability, manager } = entry;
    const state = entry.state === 'complete' ? 'complete' : 'active';
    return { name, uuid, state, durability, manager, retention: retentionOf(entry), partitions };
  }

  /** Indices of the servers in a placement, each once. */
  #owners(placement: readonly string[]): number[] {
    return [...new Set(placement)].map((uuid) => this.#parts.connection.serverIndex(uuid, this.name));
  }
}
