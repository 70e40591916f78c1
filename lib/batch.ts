/**
 * A batch of pushed events as its producer and their futures see it. Internal.
 *
 * One object for all events of a batch: it is the source of their futures, holds the memory that the core may still
 * read, and makes at most one promise. Owner: the producer, until the batch is completed; then the futures.
 */
import type { DiasporaError } from './errors.js';
import type { FutureSource } from './future.js';
import type { EventData } from './stages/types.js';

/** What a batch asks of its producer. */
export interface BatchOwner {
  /** Somebody blocks on the batch: it must be on its way. */
  sealNow(batch: Batch): void;
  /** Somebody awaits the batch: it must be on its way at the end of the turn. */
  sealSoon(batch: Batch): void;
}

export class Batch implements FutureSource<bigint> {
  readonly partition: number;
  /** Begun as the producer's n-th, over all partitions. */
  readonly sequence: number;
  settled = false;
  error: DiasporaError | undefined;
  /** The core is done with it: its memory is the caller's again. */
  completed = false;
  readonly #owner: BatchOwner;
  /** Keeps the caller's memory referenced until the core is done with it. */
  #pins: EventData[] | undefined;
  #firstId = 0;
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;

  constructor(owner: BatchOwner, partition: number, sequence: number) {
    this.#owner = owner;
    this.partition = partition;
    this.sequence = sequence;
  }

  pin(data: EventData): void {
    // A list is copied: the caller may change it, but the core holds pointers into the segments that were in it.
    const pinned = Array.isArray(data) ? [...(data as readonly EventData[])] : [data];
    if (this.#pins === undefined) this.#pins = pinned as EventData[];
    else this.#pins.push(...(pinned as EventData[]));
  }

  /** Settles its futures; nothing when they are. */
  settle(firstId: number, error: DiasporaError | undefined): void {
    if (this.settled) return;
    this.settled = true;
    this.#firstId = firstId;
    this.error = error;
    this.#resolve?.();
  }

  /** The core has let go of its memory. */
  complete(): void {
    this.completed = true;
    this.#pins = undefined;
  }

  result(index: number): bigint {
    if (this.error !== undefined) throw this.error;
    return BigInt(this.#firstId + index);
  }

  prepareWait(): void {
    this.#owner.sealNow(this);
  }

  whenSettled(): Promise<void> {
    if (this.#promise !== undefined) return this.#promise;
    if (this.settled) {
      this.#promise = Promise.resolve();
    } else {
      this.#promise = new Promise((resolve) => {
        this.#resolve = resolve;
      });
      this.#owner.sealSoon(this);
    }
    return this.#promise;
  }
}
