/**
 * Iteration: the hand-written asynchronous iterator over a consumer's events or batches (an async generator costs more
 * than twice as much an event). Internal.
 *
 * Invariant: what it has not handed out stays with the consumer; a pull that waits is withdrawn when it ends.
 */
import { DiasporaError } from './errors.js';
import type { Completion } from './future.js';

/**
 * A resolved promise never lets timers and sockets run. So after this many items, or milliseconds, an iteration waits
 * for a turn of the event loop.
 */
const itemsPerTurn = 512;
const millisecondsPerTurn = 5;
/**
 * The clock is looked at after the first item of a turn, then after twice as many each time, and at last once in so many:
 * it costs half as much as handing out one.
 */
const itemsPerClock = 32;

/** What an iteration needs of its consumer. */
export interface IterationSource<E extends object> {
  /** The next item or error if there is one; 'ended' when the consumer is closed. */
  readonly next: () => E | DiasporaError | 'ended' | undefined;
  /** Queues up for the next item; withdraw() leaves the queue and settles the completion as withdrawn. */
  readonly wait: () => { readonly completion: Completion<E>; readonly withdraw: () => void };
  /** Takes in what has arrived while this thread was busy. */
  readonly takeIn: () => void;
  readonly isOpen: () => boolean;
  readonly signal: AbortSignal | undefined;
  readonly idleTimeoutMs: number | undefined;
}

export class Iteration<E extends object> implements AsyncIterableIterator<E> {
  readonly #source: IterationSource<E>;
  #ended = false;
  #untilTurn = itemsPerTurn;
  #untilClock = 1;
  #clockStep = 1;
  #turnBegan = performance.now();
  readonly #withdraws = new Set<() => void>();

  constructor(source: IterationSource<E>) {
    this.#source = source;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<E, undefined>> {
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    if (this.#source.signal?.aborted === true) return this.#abort();
    this.#untilTurn -= 1;
    this.#untilClock -= 1;
    if (this.#untilTurn <= 0 || (this.#untilClock <= 0 && this.#isTurnLong())) return this.#takeTurn();
    const item = this.#source.next();
    if (item === undefined) return this.#wait();
    if (item === 'ended') return this.return();
    if (item instanceof DiasporaError) return this.#failOrEnd(item);
    return Promise.resolve({ value: item, done: false });
  }

  return(): Promise<IteratorResult<E, undefined>> {
    this.#ended = true;
    for (const withdraw of this.#withdraws) withdraw();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.return().then(() => undefined);
  }

  #isTurnLong(): boolean {
    this.#clockStep = Math.min(2 * this.#clockStep, itemsPerClock);
    this.#untilClock = this.#clockStep;
    return performance.now() - this.#turnBegan > millisecondsPerTurn;
  }

  async #takeTurn(): Promise<IteratorResult<E, undefined>> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#beginTurn();
    return this.next();
  }

  #beginTurn(): void {
    this.#untilTurn = itemsPerTurn;
    this.#untilClock = 1;
    this.#clockStep = 1;
    this.#turnBegan = performance.now();
  }

  /** Behind the last event there is no error to tell. */
  #failOrEnd(error: DiasporaError): Promise<IteratorResult<E, undefined>> {
    return error.code === 'TOPIC_COMPLETE' ? this.return() : this.#fail(error);
  }

  #fail(error: DiasporaError): Promise<IteratorResult<E, undefined>> {
    this.#ended = true;
    return Promise.reject(error);
  }

  #abort(): Promise<IteratorResult<E, undefined>> {
    const cause: unknown = this.#source.signal?.reason;
    return this.#fail(new DiasporaError('ABORTED', 'the iteration was aborted', { cause }));
  }

  /** Waits for an item, the signal, the idle time or return(), whichever is first. */
  async #wait(): Promise<IteratorResult<E, undefined>> {
    const { signal, idleTimeoutMs } = this.#source;
    const { completion, withdraw } = this.#source.wait();
    const idle = (): void => {
      this.#source.takeIn();
      withdraw();
    };
    this.#withdraws.add(withdraw);
    const timer = idleTimeoutMs === undefined ? undefined : setTimeout(idle, idleTimeoutMs);
    signal?.addEventListener('abort', withdraw);
    await completion.whenSettled();
    clearTimeout(timer);
    signal?.removeEventListener('abort', withdraw);
    this.#withdraws.delete(withdraw);
    this.#beginTurn();
    return this.#finishWait(completion);
  }

  #finishWait(completion: Completion<E>): Promise<IteratorResult<E, undefined>> {
    if (completion.withdrawn) {
      const aborted = this.#source.signal?.aborted === true && !this.#ended;
      return aborted ? this.#abort() : this.return();
    }
    if (completion.failed && !this.#source.isOpen()) return this.return();
    try {
      return Promise.resolve({ value: completion.result(), done: false });
    } catch (error) {
      return this.#failOrEnd(error as DiasporaError);
    }
  }
}
