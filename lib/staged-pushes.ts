/**
 * StagedPushes: the pushes of one producer whose stages run in workers, from push to the batch. Internal.
 *
 * A push that comes back is handed to the producer, which stores it in an open batch; with strict ordering not before
 * all pushes ahead of it have left. Selectors that keep count select then, so that they see the same events in the same
 * order as without workers. A push that a stage refuses leaves at once.
 *
 * Thread: the producer's. Owner: the producer. Invariants: each push leaves exactly once; the event loop and the producer
 * are kept alive while there are any.
 */
import type { Batch } from './batch.js';
import { DiasporaError } from './errors.js';
import { Future, type FutureSource } from './future.js';
import { Ordering } from './ordering.js';
import type { EventId } from './producer-options.js';
import type { Runtime } from './runtime.js';
import { encodeJson } from './stages/json.js';
import { groupEventsMax, type Lane, type StageJob } from './stages/lane.js';
import { isPlainJson } from './stages/plain-json.js';
import { runStages, type StageOutcome, type StageRun } from './stages/run-stages.js';
import type { StagePool } from './stages/stage-pool.js';
import type { StageSetup } from './stages/stage-setup.js';
import type { EventData } from './stages/types.js';

/** What the server's entry of an event takes beside metadata and data, bytes; the core counts it as well. */
const entryBytes = 16;
/** Pushes of one producer in stages; each costs some hundred bytes of memory beside what is counted. */
const stagedEventsMax = 2 ** 20;
/** For each thread of the pool: two groups in the worker, and as many that wait. */
const readyEventsPerThread = 4 * groupEventsMax;

/** Bytes in stages, of all producers of a driver. */
export interface StagedBytes {
  bytes: number;
}

/** What the staged pushes of a producer need. */
export interface StagedParts {
  readonly pool: StagePool;
  readonly threads: number;
  readonly setup: StageSetup;
  /** The same stages on this thread, for values that cannot travel. */
  readonly run: StageRun;
  readonly ordering: Ordering;
  readonly runtime: Runtime;
  /** Of the driver. */
  readonly stagedBytes: StagedBytes;
  readonly pendingBytesMax: number;
}

/** Event `index` of a batch. */
export interface StoredAt {
  readonly batch: Batch;
  readonly index: number;
}

/** The producer's side. */
export interface StagedOwner {
  /** Bytes that the core has of this producer. */
  pendingBytes(): number;
  /** Puts an event into a batch. Throws what refuses it. */
  store(push: StagedPush, outcome: StageOutcome): StoredAt;
  /** Notes a push that has failed; gives its error. */
  failed(thrown: unknown): DiasporaError;
  /** Some have left. */
  left(): void;
}

type PushFields = Pick<StagedPush, 'text' | 'isVerbatim' | 'wish' | 'data' | 'bytes'>;

/** What a selector may go by. Anything else is refused when the event's turn has come. */
function requestOf(wish: unknown): number | undefined {
  return Number.isSafeInteger(wish) && (wish as number) >= 0 ? (wish as number) : undefined;
}

/** One push: the source of its future, and the job of the pool. */
export class StagedPush implements FutureSource<EventId>, StageJob {
  text: string;
  readonly isVerbatim: boolean;
  readonly requested: number | undefined;
  /** The partition given to push, whatever it is. */
  readonly wish: unknown;
  /** Referenced until the core has it. A list is a copy. */
  data: EventData | undefined;
  readonly bytes: number;
  /** The producer's n-th. */
  readonly number: number;
  done = false;
  outcome: StageOutcome | undefined;
  readonly #owner: StagedPushes;
  #batch: Batch | undefined;
  #index = 0;
  #error: DiasporaError | undefined;
  /** Somebody blocks on it. */
  #isAwaitedHere = false;
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;

  constructor(owner: StagedPushes, number: number, fields: PushFields) {
    this.#owner = owner;
    this.number = number;
    this.text = fields.text;
    this.isVerbatim = fields.isVerbatim;
    this.requested = requestOf(fields.wish);
    this.wish = fields.wish;
    this.data = fields.data;
    this.bytes = fields.bytes;
  }

  get settled(): boolean {
    return this.#error !== undefined || this.#batch?.settled === true;
  }

  result(): EventId {
    if (this.#error !== undefined) throw this.#error;
    return (this.#batch as Batch).result(this.#index);
  }

  prepareWait(): void {
    this.#isAwaitedHere = true;
    this.#batch?.prepareWait();
  }

  whenSettled(): Promise<void> {
    if (this.#promise !== undefined) return this.#promise;
    if (this.#batch !== undefined) this.#promise = this.#batch.whenSettled();
    else if (this.#error !== undefined) this.#promise = Promise.resolve();
    else
      this.#promise = new Promise((resolve) => {
        this.#resolve = resolve;
      });
    return this.#promise;
  }

  complete(outcome: StageOutcome): void {
    this.#owner.staged(this, outcome);
  }

  /** It is in a batch. */
  stored(batch: Batch, index: number): void {
    this.#batch = batch;
    this.#index = index;
    if (this.#isAwaitedHere) batch.prepareWait();
    if (this.#resolve !== undefined) void batch.whenSettled().then(this.#resolve);
  }

  reject(error: DiasporaError): void {
    this.#error = error;
    this.#resolve?.();
  }

  /** Its future may be kept for long; what was pushed is not. */
  letGo(): void {
    this.text = '';
    this.data = undefined;
    this.outcome = undefined;
  }
}

/** What happens once the pushes up to `through` have left. */
interface Mark {
  readonly through: number;
  remaining: number;
  readonly reached: () => void;
}

function sizeOf(data: EventData | undefined): number {
  if (data === undefined) return 0;
  const segments = (Array.isArray(data) ? data : [data]) as readonly { readonly byteLength?: number }[];
  // What is no memory is refused by the core, which comes later.
  return segments.reduce((sum, segment) => sum + (segment?.byteLength ?? 0), 0);
}

export class StagedPushes {
  readonly #parts: StagedParts;
  readonly #owner: StagedOwner;
  readonly #lane: Lane;
  readonly #isStrict: boolean;
  /** All that have not left, oldest first. */
  readonly #staged = new Set<StagedPush>();
  #marks: Mark[] = [];
  #pushes = 0;
  #bytes = 0;
  /** What the core has of this producer, at most: it is asked only when that matters. */
  #coreBytes = 0;

  constructor(owner: StagedOwner, parts: StagedParts) {
    this.#owner = owner;
    this.#parts = parts;
    this.#lane = parts.pool.lane(parts.setup);
    this.#isStrict = parts.ordering === Ordering.Strict;
  }

  get events(): number {
    return this.#staged.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** More in stages than keeps the workers at work. */
  get isOverloaded(): boolean {
    return this.#staged.size > readyEventsPerThread * this.#parts.threads;
  }

  /** Throws what refuses the event at once. */
  push(metadata: unknown, data: EventData | undefined, wish: unknown): Future<EventId> {
    if (this.#parts.pool.state !== 'open') throw new DiasporaError('INVALID_STATE', 'the thread pool is closed');
    const kept = Array.isArray(data) ? ([...(data as readonly EventData[])] as EventData) : data;
    if (typeof metadata !== 'string' && !isPlainJson(metadata)) return this.#pushHere(metadata, kept, wish);
    const isVerbatim = typeof metadata === 'string';
    const text = isVerbatim ? metadata : encodeJson(metadata);
    const push = this.#enter({ text, isVerbatim, wish, data: kept, bytes: Buffer.byteLength(text) });
    this.#parts.pool.submit(this.#lane, push);
    return new Future<EventId>(push, 0);
  }

  /** Calls `reached` once all that are in stages now have left. */
  afterThese(reached: () => void): void {
    if (this.#staged.size === 0) reached();
    else this.#marks.push({ through: this.#pushes, remaining: this.#staged.size, reached });
  }

  /** All leave with `error`. */
  abort(error: DiasporaError): void {
    const pushes = [...this.#staged];
    this.#parts.pool.cancel(pushes);
    for (const push of pushes) this.#reject(push, error);
  }

  /** A worker, or this thread, is done with the stages of a push. */
  staged(push: StagedPush, outcome: StageOutcome): void {
    push.outcome = outcome;
    // What never gets to the selector need not wait for its turn.
    if (outcome.step === 'validator') this.#reject(push, outcome.thrown);
    else if (!this.#isStrict) this.#store(push);
    if (this.#isStrict) this.#storeFirst();
    this.#owner.left();
  }

  /** A value that only this thread has (a Date, an instance of a class, ...) goes through the stages here. */
  #pushHere(metadata: unknown, data: EventData | undefined, wish: unknown): Future<EventId> {
    const read = (): unknown => metadata;
    const requested = requestOf(wish);
    const outcome = runStages(this.#parts.run, { read, text: undefined, isVerbatim: false, data, requested });
    if (outcome.step === 'validator') throw outcome.thrown;
    const { stored } = outcome;
    const bytes = typeof stored === 'string' ? Buffer.byteLength(stored) : (stored?.length ?? 0);
    const push = this.#enter({ text: '', isVerbatim: false, wish, data, bytes });
    push.done = true;
    // Bytes are the serializer's until its next call, and its turn may come later.
    this.staged(push, typeof stored === 'object' ? { ...outcome, stored: stored.slice() } : outcome);
    return new Future<EventId>(push, 0);
  }

  #enter(fields: PushFields): StagedPush {
    const { stagedBytes, pendingBytesMax, runtime } = this.#parts;
    const bytes = entryBytes + fields.bytes + sizeOf(fields.data);
    if (stagedBytes.bytes + this.#coreBytes + bytes > pendingBytesMax) this.#coreBytes = this.#owner.pendingBytes();
    const pending = stagedBytes.bytes + this.#coreBytes;
    if (pending > 0 && pending + bytes > pendingBytesMax) {
      throw new DiasporaError('QUEUE_FULL', `more than ${pendingBytesMax} bytes are pending`);
    }
    if (this.#staged.size >= stagedEventsMax) {
      throw new DiasporaError('QUEUE_FULL', `${stagedEventsMax} events wait for their stages`);
    }
    this.#pushes += 1;
    const push = new StagedPush(this, this.#pushes, { ...fields, bytes });
    this.#staged.add(push);
    this.#bytes += bytes;
    stagedBytes.bytes += bytes;
    if (this.#staged.size === 1) runtime.retain(this);
    return push;
  }

  /** Those before which nothing is left that has no outcome. */
  #storeFirst(): void {
    for (const push of this.#staged) {
      if (push.outcome === undefined) return;
      this.#store(push);
    }
  }

  #store(push: StagedPush): void {
    try {
      const { batch, index } = this.#owner.store(push, push.outcome as StageOutcome);
      push.stored(batch, index);
      this.#coreBytes += push.bytes;
    } catch (thrown) {
      this.#reject(push, thrown);
      return;
    }
    this.#leave(push);
  }

  #reject(push: StagedPush, thrown: unknown): void {
    push.reject(this.#owner.failed(thrown));
    this.#leave(push);
  }

  #leave(push: StagedPush): void {
    this.#staged.delete(push);
    push.letGo();
    this.#bytes -= push.bytes;
    this.#parts.stagedBytes.bytes -= push.bytes;
    let isReached = false;
    for (const mark of this.#marks) {
      if (push.number > mark.through) continue;
      mark.remaining -= 1;
      if (mark.remaining === 0) isReached = true;
    }
    if (isReached) this.#reachMarks();
    if (this.#staged.size === 0) this.#parts.runtime.unretain(this);
  }

  #reachMarks(): void {
    const reached = this.#marks.filter(({ remaining }) => remaining === 0);
    this.#marks = this.#marks.filter(({ remaining }) => remaining > 0);
    for (const mark of reached) mark.reached();
  }
}
