/**
 * ThreadPool: worker threads in which producers run the stages of their topics.
 *
 * States: open -> closing (close() was called; finishes what it has) -> closed. Its workers start when there is work, and
 * never keep the process alive: pending pushes do.
 */
import { checkKeys, integerOption } from './options.js';
import { StagePool } from './stages/stage-pool.js';

/** Options of a thread pool. */
export interface ThreadPoolOptions {
  /**
   * Milliseconds that the stages of one event may take in a worker, 10 to 2^31 - 1; the time before they begin does not
   * count. What takes longer fails with TIMEOUT, and its worker is ended and replaced. The same for loading the stages of
   * a topic in a worker. Default: 30000.
   */
  readonly stageTimeoutMs?: number;
}

/**
 * A number of worker threads for the stages of any number of producers. Made by `driver.makeThreadPool`; closed with the
 * driver.
 */
export class ThreadPool {
  /** Most worker threads; 0: stages run on the caller's thread. */
  readonly threads: number;
  /** Milliseconds that the stages of one event may take in a worker. */
  readonly stageTimeoutMs: number;
  /** @internal Undefined without threads. */
  readonly stagePool: StagePool | undefined;
  /** Called when it is closed, and nobody has to wait for its workers any more. */
  readonly #onClosed: () => void;

  /** @internal Use `driver.makeThreadPool`. */
  constructor(threads: number, options?: ThreadPoolOptions, onClosed: () => void = () => undefined) {
    this.#onClosed = onClosed;
    this.threads = integerOption('the number of threads', threads, { min: 0, max: 1024, fallback: 0 });
    const given = checkKeys('a thread pool', options, ['stageTimeoutMs'] satisfies (keyof ThreadPoolOptions)[]);
    const timer = { min: 10, max: 2 ** 31 - 1, fallback: 30_000 };
    this.stageTimeoutMs = integerOption('stageTimeoutMs', given.stageTimeoutMs, timer);
    this.stagePool = this.threads === 0 ? undefined : new StagePool(this.threads, this.stageTimeoutMs);
  }

  /**
   * Finishes the stages of what was pushed, then ends the workers. Later pushes through it reject with INVALID_STATE.
   * Idempotent; never rejects.
   */
  async close(): Promise<void> {
    await this.stagePool?.close();
    this.#onClosed();
  }

  /** Ends the workers at once: events in stages fail with ABORTED. Resolves when they have ended. Idempotent. */
  async destroy(): Promise<void> {
    await this.stagePool?.destroy();
    this.#onClosed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
