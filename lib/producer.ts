/**
 * Producer: pushes events into the partitions of one topic.
 *
 * A push validates, chooses a partition, serializes, and makes one native call that copies the text (and small data)
 * into the open batch of that partition. Batches are sealed by the core when they are full, and at once when adaptive
 * and nothing of the partition is in flight; by this class at the end of the turn, when a batch is acknowledged, on
 * flush, close and wait, and where `ready` needs the room (room.ts). With a thread pool stages run in its workers;
 * staged-pushes.ts has the events meanwhile.
 *
 * States: open -> closing (close() was called; drains) -> closed; destroy() -> destroyed from any of them. Pushes are
 * accepted in `open` only. Thread: the environment that made it. Invariant: each push's future settles exactly once.
 */
import { Batch, type BatchOwner } from './batch.js';
import type { BatchSize } from './batch-size.js';
import { DiasporaError, type ErrorCode, fromNative } from './errors.js';
import { Completion, Future } from './future.js';
import type { NativeError, NativeProducer } from './native.js';
import type { Ordering } from './ordering.js';
import { type PendingFlush, settleFlush } from './pending-flush.js';
import type { EventId, ProducerSettings, PushOptions } from './producer-options.js';
import type { Room, RoomUser } from './room.js';
import type { BatchSink, Runtime } from './runtime.js';
import { type StagedOwner, type StagedPush, StagedPushes, type StoredAt } from './staged-pushes.js';
import { checkJsonOutline, encodeJson, parseJson } from './stages/json.js';
import type { StageOutcome } from './stages/run-stages.js';
import type { StageSetup } from './stages/stage-setup.js';
import type { Stages } from './stages/stages.js';
import type { EventData, PartitionSelectorFunction } from './stages/types.js';
import type { ThreadPool } from './thread-pool.js';

/** Pushed and not yet acknowledged; events and bytes also of what is still in its stages. */
export interface Pending {
  readonly events: number;
  readonly batches: number;
  readonly bytes: number;
}

type State = 'open' | 'closing' | 'closed' | 'destroyed';

/** Errors that `errors` remembers: enough to see a pattern; the number of all is `errorCount`. */
const errorsKept = 100;

/** What a producer is made of. Internal. */
export interface ProducerParts {
  readonly runtime: Runtime;
  readonly native: NativeProducer;
  readonly topic: string;
  readonly partitions: number;
  readonly stages: Stages;
  /** Undefined: the default. */
  readonly selector: PartitionSelectorFunction<unknown> | undefined;
  readonly settings: ProducerSettings;
  /** What workers need to run the stages; undefined: they run on the caller's thread. */
  readonly setup: StageSetup | undefined;
  /** Of the driver. */
  readonly room: Room;
  readonly onClosed: () => void;
}

/** Pushes events into a topic. Made by `topic.producer()`. */
export class Producer<In = unknown> implements BatchSink, BatchOwner {
  readonly #parts: ProducerParts;
  readonly #native: NativeProducer;
  readonly #nativePush: NativeProducer['push'];
  readonly #partitions: number;
  readonly #fixed: boolean;
  /** Text needs no stage. */
  readonly #textOnly: boolean;
  /** Text is not looked at. */
  readonly #raw: boolean;
  /** Pushes whose stages run in workers; undefined: none do. */
  readonly #staged: StagedPushes | undefined;
  /** This producer among those of the driver. */
  readonly #user: RoomUser;
  #state: State = 'open';
  #nextPartition = 0;
  /** Per partition: the batch begun last. */
  readonly #current: Batch[] = [];
  /** Per partition: batches not yet completed, oldest first; and the number of the oldest. */
  readonly #queues: Batch[][] = [];
  readonly #oldest: number[] = [];
  /** Partitions whose newest batch may still be open. */
  readonly #unsealed = new Set<number>();
  /** Fixed batches that somebody awaits; they go out at the end of the turn. */
  readonly #awaited: Batch[] = [];
  #sequence = 0;
  #outstanding = 0;
  /** Partitions with more batches outstanding than maxNumBatches and the open one. */
  #backedUp = 0;
  #turnScheduled = false;
  #linger: NodeJS.Timeout | undefined;
  #flushes: PendingFlush[] = [];
  /** Batches that failed since the last flush was asked for. */
  #unreported: DiasporaError[] = [];
  #errors: DiasporaError[] = [];
  #errorCount = 0;
  #ready: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Use `topic.producer()`. */
  constructor(parts: ProducerParts) {
    this.#parts = parts;
    this.#native = parts.native;
    this.#nativePush = parts.native.push;
    this.#partitions = parts.partitions;
    this.#fixed = !parts.settings.batchSize.isAdaptive;
    this.#textOnly = parts.stages.textOnly && !parts.settings.checkJson;
    this.#raw = parts.stages.raw;
    this.#staged = this.#makeStaged();
    this.#user = this.#makeUser();
    for (let i = 0; i < parts.partitions; i += 1) {
      this.#queues.push([]);
      this.#oldest.push(1);
    }
  }

  /** As given; '' when none was. */
  get name(): string {
    return this.#parts.settings.name;
  }

  /** Name of the topic. */
  get topic(): string {
    return this.#parts.topic;
  }

  get batchSize(): BatchSize {
    return this.#parts.settings.batchSize;
  }

  get maxNumBatches(): number {
    return this.#parts.settings.maxNumBatches;
  }

  get ordering(): Ordering {
    return this.#parts.settings.ordering;
  }

  get threadPool(): ThreadPool | undefined {
    return this.#parts.settings.threadPool;
  }

  /** `open`, `closing` (close() drains), `closed` or `destroyed`. */
  get state(): State {
    return this.#state;
  }

  /** The latest errors of pushes and batches, oldest first, at most 100. */
  get errors(): readonly DiasporaError[] {
    return this.#errors;
  }

  /** How many pushes and batches have failed in all. */
  get errorCount(): number {
    return this.#errorCount;
  }

  /** What is pushed and not yet acknowledged. */
  get pending(): Pending {
    if (this.#state === 'closed' || this.#state === 'destroyed') return { events: 0, batches: 0, bytes: 0 };
    this.#parts.runtime.drain();
    const [events, batches, bytes] = this.#native.pending();
    if (this.#staged === undefined) return { events, batches, bytes };
    return { events: events + this.#staged.events, batches, bytes: bytes + this.#staged.bytes };
  }

  /**
   * Resolves when more should be pushed: no partition has more than maxNumBatches batches in flight besides the one that
   * fills, less than half of the driver's `pendingBytesMax` is pending (over all its producers), and no more than 1024
   * events for each thread of the pool are in stages. Never rejects. `push` may be called all the same until the hard limit
   * rejects with QUEUE_FULL.
   */
  get ready(): Promise<void> {
    if (this.#ready !== undefined) return this.#ready.promise;
    if (!this.#isOverloaded()) return Promise.resolve();
    let resolve: () => void = () => undefined;
    const promise = new Promise<void>((settle) => {
      resolve = settle;
    });
    this.#ready = { promise, resolve };
    this.#parts.room.wait(this.#user);
    return promise;
  }

  /**
   * Pushes one event; never blocks. The future gives its id when the server has stored it.
   *
   * `metadata`: a value that JSON can express, or a string that is JSON text (the fast path). With the default stages text
   * is stored as it is: `{...}` and `[...]` are trusted, other text is parsed; the option `checkJson` parses all.
   * `data`: memory that the core reads until the future settles; do not write to it before. Segments of at least the
   * driver's `zeroCopyThreshold` bytes are not copied.
   *
   * The future rejects, and nothing is stored, with INVALID_METADATA, INVALID_DATA, INVALID_PARTITION, EVENT_TOO_LARGE,
   * QUEUE_FULL (retryable: wait for `ready`), INVALID_STATE (not open), or with what made its batch fail, for example
   * CONNECTION_LOST, NO_SPACE, TOPIC_DELETED, TOPIC_COMPLETE. With a thread pool also with TIMEOUT (stages that take too long), ABORTED
   * and RESOURCE_EXHAUSTED (a stage that ends its worker, or exhausts the worker's memory).
   */
  push(metadata: In | string, data?: EventData, options?: PushOptions): Future<EventId> {
    try {
      if (this.#state !== 'open') throw this.#error('INVALID_STATE', `the producer is ${this.#state}`);
      if (!this.#textOnly) return this.#pushThroughStages(metadata, data, options?.partition);
      let text: string;
      if (typeof metadata === 'string') {
        if (!this.#raw) checkJsonOutline(metadata);
        text = metadata;
      } else {
        text = encodeJson(metadata);
      }
      const requested = options?.partition;
      return this.#append(this.#turnOrRequest(requested), text, data);
    } catch (error) {
      return this.#refuse(error);
    }
  }

  /**
   * Sends what is pending, whatever its size. The future resolves when everything pushed before is acknowledged; it
   * rejects with the first error when batches failed since the last flush (`errors` has the others).
   */
  flush(): Future<void> {
    if (this.#state === 'closed' || this.#state === 'destroyed') {
      return Completion.failed(this.#error('INVALID_STATE', `the producer is ${this.#state}`));
    }
    return this.#flush().future();
  }

  /**
   * Flushes, then closes. Idempotent. Rejects with the flush's error; the producer is closed all the same. A producer
   * that was destroyed resolves.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closes at once: what is not acknowledged fails with ABORTED (it may have been stored, or not). Idempotent. */
  destroy(): void {
    if (this.#state === 'closed' || this.#state === 'destroyed') return;
    this.#state = 'destroyed';
    const error = this.#error('ABORTED', 'the producer was destroyed');
    for (const queue of this.#queues) {
      for (const batch of queue) this.#settle(batch, 0, error);
    }
    this.#staged?.abort(error);
    this.#end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  batchCompleted(partition: number, number: number, firstId: number, failure: NativeError | undefined): void {
    const queue = this.#queues[partition] as Batch[];
    const batch = queue[number - (this.#oldest[partition] as number)];
    if (batch === undefined) return;
    const operands = { topic: this.topic, partition };
    this.#settle(batch, firstId, failure === undefined ? undefined : fromNative(failure, operands));
    batch.complete();
    while (queue[0]?.completed === true) this.#dropOldest(partition, queue);
    this.#user.isStale = true;
    if (this.#outstanding === 0) this.#rest();
    else if (!this.#fixed && this.#unsealed.has(partition)) this.#sealIfRoom(partition);
    this.#parts.room.departed();
  }

  /** @internal */
  sealNow(batch: Batch): void {
    if (this.#isOpen(batch)) this.#seal(batch.partition);
  }

  /** @internal */
  sealSoon(batch: Batch): void {
    if (!this.#fixed || !this.#isOpen(batch)) return;
    this.#awaited.push(batch);
    this.#scheduleTurn();
  }

  #makeStaged(): StagedPushes | undefined {
    const { setup, settings, stages, selector, partitions, runtime, room } = this.#parts;
    const { threadPool, ordering } = settings;
    if (setup === undefined || threadPool?.stagePool === undefined) return undefined;
    const select = setup.selects ? selector : undefined;
    const owner: StagedOwner = {
      pendingBytes: () => this.#native.pending()[2],
      store: (push, outcome) => this.#store(push, outcome, setup.selects),
      failed: (thrown) => this.#failed(thrown),
      left: () => room.departed(),
    };
    return new StagedPushes(owner, {
      pool: threadPool.stagePool,
      threads: threadPool.threads,
      setup,
      run: { stages, select, partitions, mayChange: setup.mayChange },
      ordering,
      runtime,
      stagedBytes: room.staged,
      pendingBytesMax: room.bytesMax,
    });
  }

  #makeUser(): RoomUser {
    return {
      isStale: false,
      countedBytes: 0,
      refusedAt: -1,
      pendingBytes: () => this.#native.pending()[2],
      isBehind: () => this.#isBehind(),
      isSending: () => this.#isSending(),
      sealOpen: () => {
        if (this.#fixed) this.#sealAll();
      },
      goOn: () => this.#becomeReady(),
    };
  }

  /** Puts what comes out of the stages into a batch. Throws what refuses it, in the order of the stages. */
  #store({ wish, text, data }: StagedPush, outcome: StageOutcome, isSelected: boolean): StoredAt {
    const requested = wish as number | undefined;
    // Without metadata: a selector of this thread goes by the events' number alone.
    const partition = isSelected ? this.#selected(outcome, requested) : this.#select(undefined, requested);
    if (outcome.step !== undefined) throw outcome.thrown;
    const index = this.#nativePush(partition, outcome.stored ?? text, data);
    return { batch: this.#batchOf(partition, index, data), index };
  }

  /** The partition that a worker has selected. */
  #selected({ step, thrown, partition }: StageOutcome, requested: number | undefined): number {
    if (requested !== undefined) this.#checkRequest(requested);
    if (step === 'selector') throw thrown;
    return this.#checkPartition(partition);
  }

  #pushThroughStages(metadata: unknown, data: EventData | undefined, requested: number | undefined): Future<EventId> {
    if (this.#staged !== undefined) return this.#staged.push(metadata, data, requested);
    const { stages } = this.#parts;
    const given = typeof metadata === 'string' ? parseJson(metadata) : metadata;
    const value = stages.validate(given, data);
    // Text that no stage has changed is stored as it was given, byte for byte.
    const verbatim = typeof metadata === 'string' && value === given && !stages.hasSerializer;
    const partition = this.#select(value, requested);
    return this.#append(partition, verbatim ? metadata : stages.serialize(value), data);
  }

  #append(partition: number, stored: string | Uint8Array, data: EventData | undefined): Future<EventId> {
    const index = this.#nativePush(partition, stored, data);
    return new Future<EventId>(this.#batchOf(partition, index, data), index);
  }

  /** The batch that has taken the event pushed last, as number `index`. */
  #batchOf(partition: number, index: number, data: EventData | undefined): Batch {
    const batch = index === 0 ? this.#begin(partition) : (this.#current[partition] as Batch);
    if (data !== undefined) batch.pin(data);
    this.#user.isStale = true;
    return batch;
  }

  /** The core has begun a batch: its event 0 was just pushed. */
  #begin(partition: number): Batch {
    this.#sequence += 1;
    const batch = new Batch(this, partition, this.#sequence);
    const queue = this.#queues[partition] as Batch[];
    // With nothing in flight the core has sent an adaptive batch already, and a full one always.
    if (this.#fixed || queue.length > 0) this.#watchOpenBatch(partition);
    queue.push(batch);
    if (queue.length === this.maxNumBatches + 2) this.#backedUp += 1;
    this.#current[partition] = batch;
    this.#outstanding += 1;
    if (this.#outstanding === 1) {
      this.#parts.runtime.producers.set(this.#native.id, this);
      this.#parts.runtime.hold();
      this.#parts.room.enter(this.#user);
    }
    return batch;
  }

  #watchOpenBatch(partition: number): void {
    this.#unsealed.add(partition);
    if (this.#fixed) this.#linger ??= setTimeout(() => this.#lingered(), this.#parts.settings.lingerMs);
    else this.#scheduleTurn();
  }

  #scheduleTurn(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    setImmediate(() => {
      this.#turnScheduled = false;
      if (this.#fixed) for (const batch of this.#awaited.splice(0)) this.sealNow(batch);
      else for (const partition of this.#unsealed) this.#sealIfRoom(partition);
    });
  }

  #lingered(): void {
    this.#linger = undefined;
    this.#sealAll();
  }

  /** No newer one of its partition has begun, and nothing has sealed it as far as is known here. */
  #isOpen(batch: Batch): boolean {
    return this.#unsealed.has(batch.partition) && this.#current[batch.partition] === batch;
  }

  #seal(partition: number): void {
    if (this.#state === 'destroyed' || this.#state === 'closed') return;
    this.#native.seal(partition);
    this.#unsealed.delete(partition);
  }

  /** Adaptive: what is open goes out while the server keeps up, and grows while it does not. */
  #sealIfRoom(partition: number): void {
    if (this.#state === 'destroyed' || this.#state === 'closed') return;
    if (this.#native.inFlight(partition) < this.maxNumBatches) this.#seal(partition);
  }

  #sealAll(): void {
    if (this.#state === 'destroyed' || this.#state === 'closed') return;
    if (this.#unsealed.size > 0) this.#native.seal(-1);
    this.#unsealed.clear();
  }

  #settle(batch: Batch, firstId: number, error: DiasporaError | undefined): void {
    if (batch.settled) return;
    batch.settle(firstId, error);
    if (error !== undefined) {
      this.#record(error);
      const isTold = this.#flushes.some((flush) => batch.sequence <= flush.sequence);
      if (!isTold && this.#unreported.length < errorsKept) this.#unreported.push(error);
    }
    if (this.#flushes.length > 0) this.#advanceFlushes(batch, error);
  }

  #advanceFlushes(batch: Batch, error: DiasporaError | undefined): void {
    for (const flush of this.#flushes) {
      if (batch.sequence > flush.sequence) continue;
      flush.remaining -= 1;
      if (error !== undefined && flush.errors.length < errorsKept) flush.errors.push(error);
      if (flush.remaining === 0) settleFlush(flush);
    }
    this.#flushes = this.#flushes.filter((flush) => flush.remaining > 0);
  }

  #flush(): Completion<void> {
    this.#parts.runtime.drain();
    const completion = new Completion<void>();
    if (this.#staged === undefined) this.#flushBatches(completion);
    else this.#staged.afterThese(() => this.#flushBatches(completion));
    return completion;
  }

  /** Everything before the flush is in batches. */
  #flushBatches(completion: Completion<void>): void {
    if (this.#state === 'destroyed') {
      completion.reject(this.#error('ABORTED', 'the producer was destroyed'));
      return;
    }
    this.#native.seal(-1);
    this.#unsealed.clear();
    let remaining = 0;
    for (const queue of this.#queues) for (const batch of queue) if (!batch.settled) remaining += 1;
    const errors = this.#unreported;
    this.#unreported = [];
    const flush: PendingFlush = { sequence: this.#sequence, remaining, errors, completion };
    if (remaining === 0) settleFlush(flush);
    else this.#flushes.push(flush);
  }

  async #close(): Promise<void> {
    if (this.#state === 'destroyed') return;
    this.#state = 'closing';
    try {
      await this.#flush().future();
    } finally {
      if (this.#state === 'closing') {
        this.#state = 'closed';
        this.#end();
      }
    }
  }

  /** Closed or destroyed: the native side is freed; the memory of batches is kept until the core has let go of it. */
  #end(): void {
    clearTimeout(this.#linger);
    this.#unsealed.clear();
    if (this.#outstanding > 0) this.#parts.runtime.release();
    this.#native.destroy();
    this.#parts.room.stopWaiting(this.#user);
    this.#becomeReady();
    // What was in stages is gone; what the core still has is not yet.
    this.#parts.room.departed();
    this.#parts.onClosed();
  }

  #dropOldest(partition: number, queue: Batch[]): void {
    queue.shift();
    this.#oldest[partition] = (this.#oldest[partition] as number) + 1;
    if (queue.length === this.maxNumBatches + 1) this.#backedUp -= 1;
    this.#outstanding -= 1;
  }

  /** Nothing is outstanding: the process may end, and this object may be collected. */
  #rest(): void {
    this.#unsealed.clear();
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#parts.runtime.producers.delete(this.#native.id);
    this.#parts.room.leave(this.#user);
    if (this.#state !== 'destroyed') this.#parts.runtime.release();
  }

  #isOverloaded(): boolean {
    if (this.#state === 'closed' || this.#state === 'destroyed') return false;
    return this.#isBehind() || this.#parts.room.isShortFor(this.#user);
  }

  #isBehind(): boolean {
    return this.#backedUp > 0 || this.#staged?.isOverloaded === true;
  }

  /** A batch is in flight, so that its completion will come. */
  #isSending(): boolean {
    if (this.#outstanding > this.#unsealed.size) return true;
    for (const partition of this.#unsealed) if (this.#native.inFlight(partition) > 0) return true;
    return false;
  }

  #becomeReady(): void {
    this.#ready?.resolve();
    this.#ready = undefined;
  }

  #takeTurn(): number {
    const partition = this.#nextPartition;
    this.#nextPartition = partition + 1 === this.#partitions ? 0 : partition + 1;
    return partition;
  }

  #checkPartition(partition: unknown): number {
    if (Number.isInteger(partition) && (partition as number) >= 0 && (partition as number) < this.#partitions) {
      return partition as number;
    }
    const range = `an integer of 0 to ${this.#partitions - 1}`;
    throw this.#error('INVALID_PARTITION', `the partition must be ${range}, not ${String(partition)}`);
  }

  #turnOrRequest(requested: number | undefined): number {
    return requested === undefined ? this.#takeTurn() : this.#checkRequest(requested) % this.#partitions;
  }

  #checkRequest(partition: number): number {
    if (Number.isSafeInteger(partition) && partition >= 0) return partition;
    throw this.#error('INVALID_PARTITION', `the partition must be an integer of 0 or more, not ${String(partition)}`);
  }

  #select(value: unknown, requested: number | undefined): number {
    const { selector } = this.#parts;
    if (selector === undefined) return this.#turnOrRequest(requested);
    if (requested !== undefined) this.#checkRequest(requested);
    return this.#checkPartition(selector(value, { partitions: this.#partitions, requested }));
  }

  #refuse(thrown: unknown): Future<EventId> {
    return Completion.failed(this.#failed(thrown));
  }

  /** Notes that a push has failed. */
  #failed(thrown: unknown): DiasporaError {
    const error = fromNative(thrown, { topic: this.topic });
    if (error.code === 'QUEUE_FULL') this.#user.refusedAt = this.#parts.room.departures;
    this.#record(error);
    return error;
  }

  #record(error: DiasporaError): void {
    this.#errorCount += 1;
    this.#errors.push(error);
    if (this.#errors.length > errorsKept) this.#errors = this.#errors.slice(-errorsKept);
    const { onError } = this.#parts.settings;
    // Not from here: this may run inside a drain, and what the callback throws is the program's own.
    if (onError !== undefined) queueMicrotask(() => onError(error));
  }

  #error(code: ErrorCode, message: string): DiasporaError {
    return new DiasporaError(code, message, { topic: this.topic });
  }
}
