/**
 * What the workers of this environment have to tell, for those who do not wait for the event loop.
 *
 * All pools of an environment (main thread or worker) share one counter that their workers count up with each message; a
 * blocking wait sleeps on it. Only pools with something under way are asked.
 */

/** A pool with events in its workers. */
export interface WorkSource {
  /** Takes in what its workers have told, and gives them what waits. */
  receive(): void;
}

class StageWork {
  readonly signal: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  readonly #sources = new Set<WorkSource>();
  /** The counter before the last look at the sources. */
  #seen = 0;

  get isBusy(): boolean {
    return this.#sources.size > 0;
  }

  add(source: WorkSource): void {
    this.#sources.add(source);
  }

  delete(source: WorkSource): void {
    this.#sources.delete(source);
  }

  /** Takes in everything that was told. */
  receive(): void {
    if (this.#sources.size === 0) return;
    this.#seen = Atomics.load(this.signal, 0);
    for (const source of this.#sources) source.receive();
  }

  /** Blocks until something was told since the last receive(), at most `ms` milliseconds. */
  wait(ms: number): void {
    Atomics.wait(this.signal, 0, this.#seen, ms);
  }
}

/** Of this environment. */
export const stageWork: StageWork = new StageWork();
