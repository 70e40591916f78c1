/**
 * ThreadPool: where validators, partition selectors and serializers would run. For now they always run on the caller's
 * thread; the parameter is accepted so that programs need not change when they move.
 */
import { integerOption } from './options.js';

/** A number of worker threads for the stages of producers and consumers. Stages run on the caller's thread for now. */
export class ThreadPool {
  /** Worker threads asked for; 0: the caller's thread. */
  readonly threads: number;

  /** @internal Use `driver.makeThreadPool`. */
  constructor(threads: number) {
    this.threads = integerOption('the number of threads', threads, { min: 0, max: 1024, fallback: 0 });
  }
}
