/**
 * Consumer: events of one topic, in order per partition, by pull, iteration or a function.
 *
 * Events that were delivered and not handed out stay for the next pull or iteration, so leaving a loop loses nothing.
 * States: open -> closing (close() was called; waits for acknowledgements under way) -> closed; destroy() -> destroyed.
 * Thread: the environment that made it. Invariants: pulls get events in the order of their calls; an event is handed out
 * once; while no pull waits, nothing here keeps the event loop or this object alive.
 */
import { Acknowledger } from './acknowledger.js';
import type { BatchSize } from './batch-size.js';
import { type ConsumerSettings, type ConsumerStart, readStart, readStartTime } from './consumer-options.js';
import type { Delivery } from './delivery.js';
import { DiasporaError, type ErrorCode, fromNative, StopProcessing, wrapError } from './errors.js';
import { type Event, EventBatch, type EventOwner } from './event.js';
import { DirectSupply, type EventSupply, SelectingSupply, type Supplied } from './event-supply.js';
import { Completion, type Future } from './future.js';
import { Iteration } from './iteration.js';
import { Membership } from './membership.js';
import type { NativeConsumer, NativeError, Segment } from './native.js';
import { checkKeys, integerOption, invalidOption } from './options.js';
import { type DeliverySink, type Runtime, registerWeakly, unregister } from './runtime.js';
import type { Stages } from './stages/stages.js';
import type { ThreadPool } from './thread-pool.js';

export type { AllocatingConsumerOptions, ConsumerOptions, ConsumerStart, DataSelector } from './consumer-options.js';

/** Options of an iteration. */
export interface IterationOptions {
  /** Ends the iteration with an ABORTED error when it aborts; no event is lost. */
  readonly signal?: AbortSignal;
  /** Ends the iteration, without an error, when no event has come for so many milliseconds. Default: never. */
  readonly idleTimeoutMs?: number;
}

/** Options of {@link Consumer.process}. */
export interface ProcessOptions {
  /** Ends after so many events. Default: no limit. */
  readonly maxEvents?: number;
  /** Ends when no event has come for so many milliseconds. Default: never. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

type State = 'open' | 'closing' | 'closed' | 'destroyed';
type Run = EventBatch | DiasporaError;

/** Somebody who waits for an event, or for a run of them. */
type Waiter =
  | { readonly kind: 'event'; readonly completion: Completion<Event> }
  | { readonly kind: 'run'; readonly completion: Completion<EventBatch> };

/** What a consumer is made of. Internal. */
export interface ConsumerParts {
  readonly runtime: Runtime;
  readonly topic: string;
  readonly stages: Stages;
  readonly settings: ConsumerSettings;
  /** Opens the native side; the request completes when the servers have answered. */
  readonly open: (requestId: number) => NativeConsumer;
  readonly onClosed: () => void;
}

/** Reads the events of a topic. Made by `topic.consumer()`. `T`: metadata; `D`: data. */
export class Consumer<T = unknown, D = Buffer | undefined>
  implements DeliverySink, EventOwner, AsyncIterable<Event<T, D>>
{
  /**
   * Resolves when every server has answered; the member of a group has those partitions then that are free for it. Rejects
   * with the error that pulls then have too. Need not be awaited.
   */
  readonly ready: Promise<void>;
  readonly #parts: ConsumerParts;
  readonly #native: NativeConsumer;
  readonly #supply: EventSupply;
  readonly #acknowledger: Acknowledger;
  #state: State = 'open';
  readonly #waiters = new Set<Waiter>();
  /** Errors of single partitions, each to be told once, behind the events that came before it. */
  #partitionErrors: DiasporaError[] = [];
  readonly #failedPartitions = new Set<number>();
  /** Partitions of a complete topic whose last event was delivered. */
  readonly #endedPartitions = new Set<number>();
  /** Per partition: how often it was told to go on elsewhere. */
  readonly #seeks = new Map<number, number>();
  /** While it was open. */
  #completed = false;
  /** Why there will be no more events: of the consumer as a whole, or because all of its partitions have failed. */
  #failure: DiasporaError | undefined;
  #lastPartitionFailure: DiasporaError | undefined;
  /** Undefined: not in a group. */
  readonly #membership: Membership | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Use `topic.consumer()`. Throws what the core refuses at once. */
  constructor(parts: ConsumerParts) {
    this.#parts = parts;
    const { runtime, settings } = parts;
    const { native, opened } = this.#open();
    this.#native = native;
    this.ready = opened;
    registerWeakly<DeliverySink>(runtime.consumers, native.id, this);
    this.#acknowledger = new Acknowledger((partition, id, done) => {
      const operands = { topic: parts.topic, partition, consumer: settings.name };
      runtime.request((request) => native.acknowledge(request, partition, id), operands, done);
    });
    this.#supply = this.#makeSupply();
    this.#membership = settings.group && this.#makeMembership(settings.group);
  }

  /** Identity of the cursor. */
  get name(): string {
    return this.#parts.settings.name;
  }

  /** Name of the topic. */
  get topic(): string {
    return this.#parts.topic;
  }

  /** Indices of the partitions that are read; of a group's member those that are its own now. */
  get partitions(): readonly number[] {
    return this.#membership?.partitions ?? this.#parts.settings.partitions;
  }

  /** Whether it shares the partitions with the other consumers of its name. */
  get inGroup(): boolean {
    return this.#membership !== undefined;
  }

  get batchSize(): BatchSize {
    return this.#parts.settings.batchSize;
  }

  get maxNumBatches(): number {
    return this.#parts.settings.maxNumBatches;
  }

  get threadPool(): ThreadPool | undefined {
    return this.#parts.settings.threadPool;
  }

  /** `open`, `closing`, `closed` or `destroyed`. */
  get state(): State {
    return this.#state;
  }

  /**
   * Whether the topic is complete and every event of its partitions that are read was handed out: iterations end, and
   * pulls reject with TOPIC_COMPLETE. The member of a group looks at its own partitions; one without any waits.
   */
  get completed(): boolean {
    return this.#state === 'open' ? this.#isAtEnd() : this.#completed;
  }

  /**
   * The next event, of whichever partition has one. May be called several times ahead: the futures get events in call
   * order. A future whose wait(ms) ran out of time still waits: it gets the next event, so keep it.
   *
   * Rejects with INVALID_STATE (not open), TOPIC_COMPLETE (see `completed`), with what made a partition or the consumer
   * fail (CONNECTION_LOST, TOPIC_DELETED, OFFSET_OUT_OF_RANGE, CORRUPT_DATA, ...), or, for one event, with what its
   * selector or allocator threw; that error has partition and eventId, and the next pull gives the next event.
   */
  pull(): Future<Event<T, D>> {
    const completion = new Completion<Event>();
    if (this.#state !== 'open') {
      completion.reject(this.#error('INVALID_STATE', `the consumer is ${this.#state}`));
    } else {
      const supplied = this.#waiters.size === 0 ? this.#nextEvent() : undefined;
      if (supplied === undefined) this.#wait({ kind: 'event', completion });
      else settle(completion, supplied);
    }
    return completion.future() as unknown as Future<Event<T, D>>;
  }

  /**
   * The next event if one is there, else undefined; takes in what has arrived without a turn of the event loop. Throws
   * what pull would reject with.
   */
  tryPull(): Event<T, D> | undefined {
    if (this.#state !== 'open') throw this.#error('INVALID_STATE', `the consumer is ${this.#state}`);
    if (this.#waiters.size > 0) return undefined;
    let supplied = this.#nextEvent();
    if (supplied === undefined) {
      this.#parts.runtime.drain();
      supplied = this.#nextEvent();
    }
    if (supplied instanceof DiasporaError) throw supplied;
    return supplied as unknown as Event<T, D> | undefined;
  }

  /** All events as they come, until the loop is left. Same as `events()`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Event<T, D>> {
    return this.events();
  }

  /**
   * All events as they come. An error of one event or partition is thrown at its place; the events behind it come in the
   * next iteration. It ends when the consumer is closed, and behind the last event of a complete topic.
   */
  events(options?: IterationOptions): AsyncIterableIterator<Event<T, D>> {
    return this.#iterate('event', options) as unknown as AsyncIterableIterator<Event<T, D>>;
  }

  /** As events(), in runs of events that are there together: the fastest way to consume. */
  batches(options?: IterationOptions): AsyncIterableIterator<EventBatch<T, D>> {
    return this.#iterate('run', options) as unknown as AsyncIterableIterator<EventBatch<T, D>>;
  }

  /**
   * Calls `handle` with each event, one after the other, and waits for what it returns. Ends after `maxEvents`, when no
   * event came for `timeoutMs`, when `handle` throws StopProcessing, when the consumer is closed, or behind the last
   * event of a complete topic. Returns how many events were handed to it. What else `handle` throws is thrown on.
   */
  async process(handle: (event: Event<T, D>) => unknown, options?: ProcessOptions): Promise<number> {
    const { maxEvents, timeoutMs, signal } = checkKeys('process', options, ['maxEvents', 'timeoutMs', 'signal']);
    const most =
      maxEvents === Infinity ? Infinity : integerOption('maxEvents', maxEvents, { min: 0, fallback: Infinity });
    let count = 0;
    if (most === 0) return count;
    const iteration: IterationOptions = {
      ...(timeoutMs === undefined ? {} : { idleTimeoutMs: timeoutMs }),
      ...(signal === undefined ? {} : { signal }),
    };
    for await (const event of this.events(iteration)) {
      count += 1;
      try {
        await handle(event);
      } catch (error) {
        if (error instanceof StopProcessing) return count;
        throw error;
      }
      if (count >= most) return count;
    }
    return count;
  }

  /**
   * Goes on at another place of a partition: `'cursor'`, `'beginning'`, `'end'`, a time or an event id; all events of it
   * that were not handed out yet are dropped. A partition that had failed is read again. The cursor stays where it is:
   * acknowledge moves it forward only (`topic.resetConsumer` sets it back). Throws INVALID_PARTITION for one that is not
   * among `partitions`, INVALID_ARGUMENT, INVALID_STATE, and what made the consumer as a whole fail.
   */
  seek(partition: number, to: ConsumerStart): void {
    if (this.#state !== 'open') throw this.#error('INVALID_STATE', `the consumer is ${this.#state}`);
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.partitions.includes(partition)) {
      throw invalidOption('partition', 'one that this consumer reads', partition, 'INVALID_PARTITION');
    }
    this.#native.seek(partition, readStart(to), readStartTime(to));
    this.#supply.drop(partition);
    this.#seeks.set(partition, (this.#seeks.get(partition) ?? 0) + 1);
    this.#endedPartitions.delete(partition);
    if (this.#failedPartitions.delete(partition)) this.#lastPartitionFailure = undefined;
    this.#partitionErrors = this.#partitionErrors.filter((error) => error.partition !== partition);
  }

  /**
   * Waits for the acknowledgements under way, then closes; pulls that wait reject with ABORTED, iterations end. Rejects
   * when an acknowledgement has failed, but for FENCED; the consumer is closed all the same. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closes at once. Idempotent. */
  destroy(): void {
    if (this.#state === 'closed' || this.#state === 'destroyed') return;
    this.#completed = this.completed;
    this.#state = 'destroyed';
    this.#release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  decode(delivery: Delivery, index: number): unknown {
    const { stages } = this.#parts;
    return stages.deserialize(stages.binary ? delivery.metadataBytes(index) : delivery.metadataText(index));
  }

  /** @internal */
  acknowledge(partition: number, id: number): Future<void> {
    if (this.#state === 'open') {
      const future = this.#acknowledger.acknowledge(partition, id);
      this.#membership?.acknowledged(partition, id);
      return future;
    }
    return Completion.failed(this.#error('INVALID_STATE', `the consumer is ${this.#state}`));
  }

  /** @internal */
  deliveryWaits(): void {
    for (const waiter of this.#waiters) {
      const supplied = waiter.kind === 'event' ? this.#nextEvent() : this.#nextRun();
      if (supplied === undefined) return;
      this.#withdraw(waiter);
      settle(waiter.completion as Completion<Event | EventBatch>, supplied);
    }
  }

  /** @internal */
  partitionEnded(partition: number, seeks: number): void {
    if (seeks !== (this.#seeks.get(partition) ?? 0)) return;
    this.#endedPartitions.add(partition);
    this.deliveryWaits();
  }

  /** @internal */
  consumerFailed(partition: number, failure: NativeError): void {
    if (this.#endedPartitions.has(partition)) return;
    const operands = { topic: this.topic, consumer: this.name };
    if (partition < 0) {
      this.#failure ??= fromNative(failure, operands);
    } else {
      this.#partitionErrors.push(fromNative(failure, { ...operands, partition }));
      this.#failedPartitions.add(partition);
      // The member of a group may be given others.
      if (!this.inGroup && this.#failedPartitions.size === this.partitions.length) {
        this.#lastPartitionFailure = fromNative(failure, { ...operands, partition });
      }
    }
    this.deliveryWaits();
  }

  /** @internal */
  assignmentChanged(granted: readonly number[], revoked: readonly number[]): void {
    for (const partition of revoked) {
      this.#failedPartitions.delete(partition);
      this.#endedPartitions.delete(partition);
    }
    if (this.#state === 'open' || this.#state === 'closing') {
      this.#membership?.change(granted, revoked);
      if (revoked.length > 0) this.#native.goOn();
    }
    this.deliveryWaits();
  }

  #open(): { native: NativeConsumer; opened: Promise<void> } {
    let native: NativeConsumer | undefined;
    let refusal: unknown;
    const { runtime, open, topic, settings } = this.#parts;
    const opened = new Promise<void>((resolve, reject) => {
      const start = (id: number): void => {
        try {
          native = open(id);
        } catch (error) {
          refusal = error;
          throw error;
        }
      };
      runtime.request(start, { topic, consumer: settings.name }, (error) => {
        if (error === undefined) {
          resolve();
          return;
        }
        this.#failure ??= error;
        reject(error);
        if (native !== undefined) this.deliveryWaits();
      });
    });
    // Pulls have the error too, so nobody needs to look at this promise.
    opened.catch(() => undefined);
    if (native === undefined) throw fromNative(refusal, { topic, consumer: settings.name });
    return { native, opened };
  }

  #makeSupply(): EventSupply {
    const { runtime, settings, topic } = this.#parts;
    if (settings.dataSelector === undefined) return new DirectSupply(this, this.#native);
    const fetch = (
      event: Event,
      ranges: Float64Array,
      destination: readonly Segment[],
      done: (error: DiasporaError | undefined) => void,
    ): void => {
      const { partition, id } = event;
      const start = (request: number): void => this.#native.fetch(request, partition, Number(id), ranges, destination);
      runtime.request(start, { topic, partition, eventId: id, consumer: settings.name }, done);
    };
    return new SelectingSupply({
      owner: this,
      native: this.#native,
      selector: settings.dataSelector,
      allocator: settings.dataAllocator,
      windowBytes: settings.windowBytes,
      fetch,
      wake: () => this.deliveryWaits(),
    });
  }

  #makeMembership(settings: NonNullable<ConsumerSettings['group']>): Membership {
    return new Membership({
      settings,
      drop: (partition) => this.#supply.drop(partition),
      whenAcknowledged: (partition, done) => this.#acknowledger.whenIdle(partition, done),
      release: (partition) => {
        if (this.#state === 'open' || this.#state === 'closing') this.#native.release(partition);
      },
      failed: (error) => {
        this.#partitionErrors.push(wrapError('INVALID_STATE', 'onAssign or onRevoke failed', error));
        this.deliveryWaits();
      },
    });
  }

  /** Whoever asks for an event is done with those it has. */
  #nextEvent(): Supplied | undefined {
    this.#membership?.asked();
    const supplied = this.#supply.next();
    if (supplied === undefined) return this.#nextError();
    if (this.#membership !== undefined && !(supplied instanceof DiasporaError)) {
      this.#membership.handedOut(supplied.partition, supplied.position);
    }
    return supplied;
  }

  #nextRun(): Run | undefined {
    this.#membership?.asked();
    const run = this.#supply.nextRun();
    if (run === undefined) return this.#nextError();
    if (run instanceof DiasporaError) return run;
    const last = run.at(-1) ?? run[0];
    this.#membership?.handedOut(last.partition, last.position);
    return new EventBatch(run);
  }

  #nextError(): DiasporaError | undefined {
    return this.#partitionErrors.shift() ?? this.#failure ?? this.#lastPartitionFailure ?? this.#end();
  }

  #isAtEnd(): boolean {
    if (this.#endedPartitions.size === 0) return false;
    const isOver = (partition: number): boolean =>
      this.#endedPartitions.has(partition) || this.#failedPartitions.has(partition);
    if (this.partitions.length === 0 || !this.partitions.every(isOver)) return false;
    return this.#partitionErrors.length === 0 && this.#supply.isEmpty();
  }

  /** What there is instead of events that will never come. */
  #end(): DiasporaError | undefined {
    return this.completed ? this.#error('TOPIC_COMPLETE', 'the topic is complete: no event follows') : undefined;
  }

  /** While somebody waits, the event loop goes on and this object stays. */
  #wait(waiter: Waiter): void {
    this.#waiters.add(waiter);
    if (this.#waiters.size === 1) this.#parts.runtime.retain(this);
  }

  #withdraw(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    if (this.#waiters.size === 0) this.#parts.runtime.unretain(this);
  }

  #iterate(kind: Waiter['kind'], given: IterationOptions | undefined): AsyncIterableIterator<Event | EventBatch> {
    const options = checkKeys('an iteration', given, ['signal', 'idleTimeoutMs']);
    const idleTimeoutMs = integerOption('idleTimeoutMs', options.idleTimeoutMs, {
      min: 0,
      max: 2 ** 31 - 1,
      fallback: -1,
    });
    const { signal } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw invalidOption('signal', 'an AbortSignal', signal);
    }
    return new Iteration({
      next: () => {
        if (this.#state !== 'open') return 'ended';
        if (this.#waiters.size > 0) return undefined;
        return kind === 'event' ? this.#nextEvent() : this.#nextRun();
      },
      wait: () => {
        const waiter = { kind, completion: new Completion() } as Waiter;
        this.#wait(waiter);
        const settled = waiter.completion as Completion<Event | EventBatch>;
        const withdraw = (): void => {
          if (settled.settled) return;
          this.#withdraw(waiter);
          settled.withdraw();
        };
        return { completion: settled, withdraw };
      },
      takeIn: () => this.#parts.runtime.drain(),
      isOpen: () => this.#state === 'open',
      signal,
      idleTimeoutMs: idleTimeoutMs < 0 ? undefined : idleTimeoutMs,
    });
  }

  async #close(): Promise<void> {
    if (this.#state === 'destroyed') return;
    this.#completed = this.completed;
    this.#state = 'closing';
    this.#turnAway();
    try {
      await this.#acknowledger.settled();
    } finally {
      if (this.#state === 'closing') {
        this.#state = 'closed';
        this.#release();
      }
    }
  }

  /** Who waits gets nothing more. */
  #turnAway(): void {
    if (this.#waiters.size === 0) return;
    const error = this.#error('ABORTED', `the consumer was ${this.#state === 'destroyed' ? 'destroyed' : 'closed'}`);
    for (const waiter of this.#waiters) waiter.completion.reject(error);
    this.#waiters.clear();
    this.#parts.runtime.unretain(this);
  }

  #release(): void {
    const { runtime, onClosed } = this.#parts;
    this.#turnAway();
    unregister<DeliverySink>(runtime.consumers, this.#native.id, this);
    this.#native.destroy();
    onClosed();
  }

  #error(code: ErrorCode, message: string): DiasporaError {
    return new DiasporaError(code, message, { topic: this.topic, consumer: this.name });
  }
}

function settle<E extends object>(completion: Completion<E>, supplied: E | DiasporaError): void {
  if (supplied instanceof DiasporaError) completion.reject(supplied);
  else completion.resolve(supplied);
}
