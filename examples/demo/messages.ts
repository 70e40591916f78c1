/** What the processes of the demo tell each other over Node's IPC channel, and what an event's metadata holds. */
import type { DriverCounters } from 'diaspora-stream';

/** Metadata of one projection. */
export interface ProjectionMetadata {
  readonly index: number;
  /** Degrees. */
  readonly theta: number;
  /** Rows, columns. */
  readonly shape: readonly [number, number];
  readonly dtype: 'float32';
  /** When it was pushed: microseconds of the host's monotonic clock, which all processes of one host share. */
  readonly sentAt: number;
  /** SHA-256 of the pixels, taken before the push. */
  readonly sha256: string;
}

export interface Start {
  readonly groupFile: string;
  readonly provider: string;
  readonly topic: string;
}

export interface ProducerStart extends Start {
  readonly input: string | undefined;
  readonly projections: number;
  readonly durability: 'memory' | 'os' | 'sync';
}

export interface ConsumerStart extends Start {
  readonly projections: number;
  readonly outputDirectory: string;
  readonly centre: number | undefined;
}

export interface ProducerReport {
  readonly events: number;
  readonly bytes: number;
  readonly pushLatenciesMs: readonly number[];
  readonly firstPushAt: number;
  /** SHA-256 over the checksums of all projections in order. */
  readonly sha256: string;
  readonly counters: DriverCounters;
}

export interface ConsumerReport {
  readonly events: number;
  readonly bytes: number;
  readonly latenciesMs: readonly number[];
  readonly lastReceivedAt: number;
  readonly sha256: string;
  /** Projections whose bytes are not those that were pushed. */
  readonly damaged: number;
  readonly counters: DriverCounters;
  readonly centre: number;
  readonly pictures: readonly string[];
}

export type FromChild<Report> =
  | { readonly type: 'ready'; readonly projections: number }
  | { readonly type: 'progress'; readonly events: number }
  | { readonly type: 'report'; readonly report: Report };

/** Microseconds of the host's monotonic clock. */
export function monotonicMicroseconds(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Sends to the parent process; resolves when the message is on its way. */
export function tellParent<Report>(message: FromChild<Report>): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, undefined, undefined, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** The next message of the parent. */
export function fromParent<T>(): Promise<T> {
  return new Promise((resolve) => process.once('message', (message) => resolve(message as T)));
}
