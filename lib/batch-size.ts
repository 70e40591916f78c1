/**
 * BatchSize: how many events go into one batch. A value; pure.
 */
import { invalidOption } from './options.js';

/** Most events of one batch: the bound of the native core and of the wire. */
export const batchEventsMax = 65536;

/** How many events a batch holds: a fixed number, or whatever load asks for. */
export class BatchSize {
  /** 0: adaptive. */
  readonly events: number;

  private constructor(events: number) {
    this.events = events;
  }

  /** Batches are sent at once while the server keeps up, and grow while it does not. The default. */
  static adaptive(): BatchSize {
    return new BatchSize(0);
  }

  /** Batches of exactly `events` events (1 to 65536), fewer only on flush, close, wait, await, or after the linger time. */
  static of(events: number): BatchSize {
    if (!Number.isInteger(events) || events < 1 || events > batchEventsMax) {
      throw invalidOption('batchSize', `BatchSize.adaptive() or an integer of 1 to ${batchEventsMax}`, events);
    }
    return new BatchSize(events);
  }

  /** Accepts what the options accept: a BatchSize, a number of events, or undefined (adaptive). */
  static from(value: BatchSize | number | undefined): BatchSize {
    if (value === undefined) return BatchSize.adaptive();
    return value instanceof BatchSize ? value : BatchSize.of(value);
  }

  get isAdaptive(): boolean {
    return this.events === 0;
  }

  toString(): string {
    return this.isAdaptive ? 'adaptive' : String(this.events);
  }
}
