/**
 * Where a consumer's events come from: directly from deliveries, or through a data selector that fetches parts of each
 * event's data. Internal; runs inside drains and calls of the consumer.
 *
 * Invariant: events come out in the order of their deliveries, each once; a failed one comes out as its error, at its
 * place, and does not stop the others.
 */
import { DataDescriptor } from './data-descriptor.js';
import { Delivery } from './delivery.js';
import { DiasporaError, wrapError } from './errors.js';
import { Event, type EventOwner } from './event.js';
import type { NativeConsumer, Segment } from './native.js';
import type { EventData } from './stages/types.js';

/** An event, or the error of the event that would be next. */
export type Supplied = Event | DiasporaError;

export interface EventSupply {
  /** The next event; undefined when there is none yet (the consumer's `deliveryWaits` is called when there is). */
  next(): Supplied | undefined;
  /** The events that are there, all of one partition; an error when the first one failed. */
  nextRun(): [Event, ...Event[]] | DiasporaError | undefined;
  /** What is here of the partition is not handed out. */
  drop(partition: number): void;
  /** Whether every delivered event was handed out: none waits, and none is on its way through a selector. */
  isEmpty(): boolean;
}

/** Chooses the bytes of an event's data that are moved: the descriptor given, a view of it, or undefined for nothing. */
export type DataSelectorFunction<T> = (metadata: T, descriptor: DataDescriptor) => DataDescriptor | undefined;

/** Gives the memory for the selected bytes: segments whose sizes add up to `descriptor.size`. */
export type DataAllocator<T, D> = (metadata: T, descriptor: DataDescriptor) => D;

/** Deliveries as they come: no data, or all data with the metadata. */
export class DirectSupply implements EventSupply {
  readonly #owner: EventOwner;
  readonly #native: NativeConsumer;
  #delivery: Delivery | undefined;
  #index = 0;
  /** Deliveries may wait that cannot be taken yet. */
  #isHeldBack = false;

  constructor(owner: EventOwner, native: NativeConsumer) {
    this.#owner = owner;
    this.#native = native;
  }

  next(): Event | undefined {
    let delivery = this.#delivery;
    if (delivery === undefined || this.#index === delivery.count) {
      delivery = this.#take();
      if (delivery === undefined) return undefined;
    }
    const event = new Event(this.#owner, delivery, this.#index);
    this.#index += 1;
    return event;
  }

  isEmpty(): boolean {
    if (this.#index !== (this.#delivery?.count ?? 0)) return false;
    return this.#take() === undefined && !this.#isHeldBack;
  }

  nextRun(): [Event, ...Event[]] | undefined {
    const first = this.next();
    if (first === undefined) return undefined;
    const run: [Event, ...Event[]] = [first];
    const delivery = this.#delivery as Delivery;
    for (; this.#index < delivery.count; this.#index += 1) run.push(new Event(this.#owner, delivery, this.#index));
    return run;
  }

  drop(partition: number): void {
    if (this.#delivery?.partition !== partition) return;
    this.#delivery = undefined;
    this.#index = 0;
  }

  #take(): Delivery | undefined {
    const native = this.#native.take();
    this.#isHeldBack = native === null;
    this.#delivery = native == null ? undefined : new Delivery(native);
    this.#index = 0;
    return this.#delivery;
  }
}

/** Events whose selection runs at once: enough to keep the network busy. */
const fetchesMax = 64;

interface Slot {
  readonly event: Event;
  error: DiasporaError | undefined;
  ready: boolean;
  bytes: number;
}

/** What a selecting supply needs of its consumer. */
export interface SelectingParts {
  readonly owner: EventOwner;
  readonly native: NativeConsumer;
  readonly selector: DataSelectorFunction<never>;
  readonly allocator: DataAllocator<never, EventData> | undefined;
  /** Most bytes that are being fetched ahead of the consumer; one event may exceed it. */
  readonly windowBytes: number;
  /** Starts a fetch; `done` comes later. */
  readonly fetch: (
    event: Event,
    ranges: Float64Array,
    destination: readonly Segment[],
    done: (error: DiasporaError | undefined) => void,
  ) => void;
  /** An event has become ready. */
  readonly wake: () => void;
}

/** Runs the selector for a bounded number of events ahead, and hands them on in order. */
export class SelectingSupply implements EventSupply {
  readonly #parts: SelectingParts;
  readonly #source: DirectSupply;
  #slots: Slot[] = [];
  #bytes = 0;

  constructor(parts: SelectingParts) {
    this.#parts = parts;
    this.#source = new DirectSupply(parts.owner, parts.native);
  }

  next(): Supplied | undefined {
    this.#fill();
    const slot = this.#slots[0];
    if (slot?.ready !== true) return undefined;
    this.#slots.shift();
    this.#bytes -= slot.bytes;
    return slot.error ?? slot.event;
  }

  isEmpty(): boolean {
    return this.#slots.length === 0 && this.#source.isEmpty();
  }

  nextRun(): [Event, ...Event[]] | DiasporaError | undefined {
    const first = this.next();
    if (first === undefined || first instanceof DiasporaError) return first;
    const run: [Event, ...Event[]] = [first];
    for (;;) {
      const slot = this.#slots[0];
      if (slot?.ready !== true || slot.error !== undefined || slot.event.partition !== first.partition) return run;
      this.#slots.shift();
      this.#bytes -= slot.bytes;
      run.push(slot.event);
    }
  }

  drop(partition: number): void {
    this.#source.drop(partition);
    const kept = this.#slots.filter((slot) => slot.event.partition !== partition);
    this.#bytes = kept.reduce((bytes, slot) => bytes + slot.bytes, 0);
    this.#slots = kept;
  }

  #fill(): void {
    while (this.#slots.length < fetchesMax && this.#bytes < this.#parts.windowBytes) {
      const event = this.#source.next();
      if (event === undefined) return;
      const slot: Slot = { event, error: undefined, ready: false, bytes: 0 };
      this.#slots.push(slot);
      this.#select(slot);
    }
  }

  #select(slot: Slot): void {
    const { event } = slot;
    try {
      const whole = DataDescriptor.whole(event.dataSize);
      const selected = this.#parts.selector(event.metadata as never, whole) ?? DataDescriptor.empty();
      if (!(selected instanceof DataDescriptor)) {
        silence(selected);
        throw new DiasporaError('INVALID_DESCRIPTOR', 'the data selector must return a DataDescriptor or undefined');
      }
      const destination = this.#allocate(event, selected);
      slot.bytes = selected.size;
      this.#bytes += selected.size;
      if (selected.size === 0) {
        slot.ready = true;
        return;
      }
      this.#parts.fetch(event, Float64Array.from(selected.ranges().flat()), destination, (error) => {
        slot.error = error === undefined ? undefined : positioned(event, error);
        slot.ready = true;
        this.#parts.wake();
      });
    } catch (error) {
      slot.error = positioned(event, wrapError('INVALID_DESCRIPTOR', 'selecting data failed', error));
      slot.ready = true;
    }
  }

  /** Memory for the selected bytes, which becomes the event's data. */
  #allocate(event: Event, selected: DataDescriptor): readonly Segment[] {
    const { allocator } = this.#parts;
    const data: EventData =
      allocator === undefined
        ? Buffer.from(new ArrayBuffer(selected.size))
        : allocator(event.metadata as never, selected);
    const segments = (Array.isArray(data) ? data : [data]) as readonly Segment[];
    let size = 0;
    for (const segment of segments) {
      const bytes = (segment as Segment | null | undefined)?.byteLength;
      if (typeof bytes !== 'number') {
        silence(segment);
        throw new DiasporaError(
          'INVALID_DATA',
          'the data allocator must return a buffer, a view of one, or a list of such',
        );
      }
      size += bytes;
    }
    if (size !== selected.size) {
      const sizes = `${size} bytes for a selection of ${selected.size}`;
      throw new DiasporaError('INVALID_DATA', `the data allocator gave ${sizes}`);
    }
    event.setData(data);
    return segments;
  }
}

/** A promise is none of what is wanted, which the event's error says; that it rejects as well is nobody's concern. */
function silence(returned: unknown): void {
  if (returned instanceof Promise) returned.catch(() => undefined);
}

/** The same error with the event's position. */
function positioned(event: Event, error: DiasporaError): DiasporaError {
  const { partition, id, topic } = event;
  const what = `event ${id} of partition ${partition} of topic '${topic}'`;
  return new DiasporaError(error.code, `${what}: ${error.message}`, {
    topic,
    partition,
    eventId: id,
    cause: error.cause ?? error,
  });
}
