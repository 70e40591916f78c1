/**
 * Event and EventBatch: what a consumer gets. Everything of an event is read when it is asked for.
 */
import type { Delivery } from './delivery.js';
import { DiasporaError } from './errors.js';
import type { Future } from './future.js';

/** What an event asks of its consumer. Internal. */
export interface EventOwner {
  readonly topic: string;
  readonly name: string;
  decode(delivery: Delivery, index: number): unknown;
  acknowledge(partition: number, id: number): Future<void>;
}

const unread = Symbol('unread');

/** One event of a topic. `T`: its metadata. `D`: its data; undefined when the consumer has no data selector. */
export class Event<T = unknown, D = Buffer | undefined> {
  declare private readonly owner: EventOwner;
  declare private readonly delivery: Delivery;
  declare private readonly index: number;
  declare private value: unknown;
  declare private bytes: unknown;

  /** @internal */
  constructor(owner: EventOwner, delivery: Delivery, index: number) {
    this.owner = owner;
    this.delivery = delivery;
    this.index = index;
    this.value = unread;
    this.bytes = unread;
  }

  /** Position in the partition: 0, 1, 2, ... without gaps. */
  get id(): bigint {
    return BigInt(this.position);
  }

  /** Index of the partition. */
  get partition(): number {
    return this.delivery.partition;
  }

  /** Name of the topic. */
  get topic(): string {
    return this.owner.topic;
  }

  /**
   * The metadata, decoded on first use by the topic's serializer. Throws INVALID_METADATA, with partition and eventId,
   * when it can't be (a producer may have pushed text that is not JSON, see Producer.push).
   */
  get metadata(): T {
    if (this.value === unread) {
      try {
        this.value = this.owner.decode(this.delivery, this.index);
      } catch (error) {
        const operands = { topic: this.topic, partition: this.partition, eventId: this.id };
        const reason = error instanceof Error && error.cause !== undefined ? error.cause : error;
        const what = `the metadata of event ${this.id} of partition ${this.partition} of topic '${this.topic}'`;
        const text = reason instanceof Error ? reason.message : String(reason);
        throw new DiasporaError('INVALID_METADATA', `${what}: ${text}`, { ...operands, cause: reason });
      }
    }
    return this.value as T;
  }

  /** The metadata as it is stored, as text. Of use where the topic's serializer makes text. */
  get metadataText(): string {
    return this.delivery.metadataText(this.index);
  }

  /** The metadata as it is stored: a view, which keeps the whole delivery. */
  get metadataBytes(): Buffer {
    return this.delivery.metadataBytes(this.index);
  }

  /** Bytes of the stored data, whatever part of it was selected. */
  get dataSize(): number {
    return this.delivery.dataSize(this.index);
  }

  /**
   * The selected data. With `fullData` a Buffer that is a view of the delivery's memory (nothing is copied; keeping it
   * keeps the whole delivery); with a selector a Buffer of the selected bytes, or what the allocator gave.
   */
  get data(): D {
    if (this.bytes === unread) this.bytes = this.delivery.data(this.index);
    return this.bytes as D;
  }

  /**
   * Everything in this partition up to and including this event is done for the consumer's name: a consumer that starts
   * with `from: 'cursor'` begins behind it. Durable when the future resolves. Acknowledgements are cumulative and
   * coalesced: those made while one is under way go out as one. Rejects with INVALID_STATE (the consumer is not open),
   * FENCED (another member of its group owns the partition now, and gets the event again), TOPIC_DELETED, CONNECTION_LOST.
   */
  acknowledge(): Future<void> {
    return this.owner.acknowledge(this.partition, this.position);
  }

  /** @internal The id as a number: below 2^53. */
  get position(): number {
    return this.delivery.firstId + this.index;
  }

  /** @internal */
  setData(data: unknown): void {
    this.bytes = data;
  }
}

/** Consecutive events of one partition, at least one. */
export class EventBatch<T = unknown, D = Buffer | undefined> implements Iterable<Event<T, D>> {
  readonly events: readonly [Event<T, D>, ...Event<T, D>[]];

  /** @internal */
  constructor(events: readonly [Event<T, D>, ...Event<T, D>[]]) {
    this.events = events;
  }

  get partition(): number {
    return this.events[0].partition;
  }

  get length(): number {
    return this.events.length;
  }

  /** As Array.prototype.at. */
  at(index: number): Event<T, D> | undefined {
    return this.events.at(index);
  }

  [Symbol.iterator](): Iterator<Event<T, D>> {
    return this.events[Symbol.iterator]();
  }

  /** Acknowledges the last event, and so all of them. */
  acknowledge(): Future<void> {
    return (this.events.at(-1) ?? this.events[0]).acknowledge();
  }
}
