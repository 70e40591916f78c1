/**
 * Future: the result of a push, flush, pull or acknowledge, to be awaited or waited for.
 *
 * It is two fields, a source that is shared (a whole batch of pushes has one) and an index in it: promises exist only
 * for those that somebody awaits, one per source. So a rejection that nobody looks at is not an unhandled rejection; it
 * shows where its owner says (`producer.errors`, the next flush).
 * Invariant: a source settles once, and only inside a drain of completions or a call of its owner.
 */
import { runtime } from './runtime.js';

/** What futures point at. Internal. */
export interface FutureSource<T> {
  /** Whether there is a result or an error. */
  readonly settled: boolean;
  /** The result of future `index`, or throws the error; only when settled. */
  result(index: number): T;
  /** Called when somebody is about to block on it: whatever it needs must be under way afterwards. */
  prepareWait(): void;
  /** Resolves when settled; never rejects. Lazily made, one per source. */
  whenSettled(): Promise<void>;
}

/** The result of an asynchronous operation: awaitable, and waitable without the event loop. */
export class Future<T> implements PromiseLike<T> {
  // `declare`: these are written by the constructor alone, one store each; this object is made once per push.
  declare private readonly source: FutureSource<T>;
  declare private readonly index: number;

  /** @internal */
  constructor(source: FutureSource<T>, index: number) {
    this.source = source;
    this.index = index;
  }

  /** Whether the operation has succeeded or failed; never blocks, and needs no turn of the event loop to change. */
  get completed(): boolean {
    if (this.source.settled) return true;
    runtime().drain();
    return this.source.settled;
  }

  /**
   * Blocks this thread, and with it the event loop, until there is a result, at most `ms` milliseconds (negative, the
   * default: for ever; 0: only looks). Returns the result, or undefined when the time is up: the operation goes on, and
   * wait may be called again. Throws the operation's DiasporaError.
   */
  wait(ms: number = -1): T | undefined {
    const { source } = this;
    if (!source.settled) {
      source.prepareWait();
      if (!runtime().waitUntil(() => source.settled, ms)) return undefined;
    }
    return source.result(this.index);
  }

  /** As Promise.prototype.then. */
  // biome-ignore lint/suspicious/noThenProperty: a Future is awaitable by contract.
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const { source, index } = this;
    return source.whenSettled().then((): A | B | PromiseLike<A | B> => {
      let value: T;
      try {
        value = source.result(index);
      } catch (error) {
        if (typeof onRejected === 'function') return onRejected(error);
        throw error;
      }
      return typeof onFulfilled === 'function' ? onFulfilled(value) : (value as unknown as A);
    });
  }

  /** As Promise.prototype.catch. */
  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.then(undefined, onRejected);
  }

  /** As Promise.prototype.finally. */
  finally(onFinally?: (() => void) | null): Promise<T> {
    return this.then().finally(onFinally);
  }
}

/** A source with one result, settled by its owner. Internal. */
export class Completion<T> implements FutureSource<T> {
  settled = false;
  failed = false;
  /** Its owner no longer wants a result. */
  withdrawn = false;
  #value: T | undefined;
  #error: unknown;
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  readonly #prepare: (() => void) | undefined;

  constructor(prepareWait?: () => void) {
    this.#prepare = prepareWait;
  }

  /** A future that has failed already. */
  static failed<T>(error: unknown): Future<T> {
    const completion = new Completion<T>();
    completion.reject(error);
    return completion.future();
  }

  future(): Future<T> {
    return new Future<T>(this, 0);
  }

  resolve(value: T): void {
    if (this.settled) return;
    this.#value = value;
    this.#settle();
  }

  reject(error: unknown): void {
    if (this.settled) return;
    this.failed = true;
    this.#error = error;
    this.#settle();
  }

  withdraw(): void {
    if (this.settled) return;
    this.withdrawn = true;
    this.#settle();
  }

  result(): T {
    if (this.failed) throw this.#error;
    return this.#value as T;
  }

  prepareWait(): void {
    this.#prepare?.();
  }

  whenSettled(): Promise<void> {
    if (this.#promise === undefined) {
      this.#promise = this.settled
        ? Promise.resolve()
        : new Promise((resolve) => {
            this.#resolve = resolve;
          });
    }
    return this.#promise;
  }

  #settle(): void {
    this.settled = true;
    this.#resolve?.();
  }
}
