/** One of many producers of numbered events, and the proof that every event of all of them is stored once. */
import { BatchSize, type EventBatch, type TopicHandle } from '../../lib/index.js';
import { isPattern, pattern } from './pattern.js';

/** Metadata: the producer, and its how manieth event it is. */
export interface Numbered {
  readonly who: number;
  readonly n: number;
}

export interface PushOptions {
  readonly who: number;
  readonly events: number;
  /** 0: adaptive. */
  readonly batchSize: number;
}

/** In turn: none, gathered, zero-copy. */
const sizes = [0, 0, 100, 0, 3000, 0, 1, 0, 70_000];

function sizeOf(n: number): number {
  return n % 20 === 0 ? (sizes[(n / 20) % sizes.length] as number) : 0;
}

/**
 * Pushes the events, in runs of a batch to one partition after the other; waits for one of them now and then, blocking
 * or not. Resolves when all are stored and the producer is closed, with their number.
 */
export async function pushNumbered(topic: TopicHandle<Numbered>, options: PushOptions): Promise<number> {
  const { who, events, batchSize } = options;
  const producer = topic.producer({ batchSize: batchSize === 0 ? BatchSize.adaptive() : batchSize });
  const run = Math.max(1, batchSize);
  for (let n = 0; n < events; n += 1) {
    const bytes = sizeOf(n);
    const data = bytes === 0 ? undefined : pattern(who + n, bytes);
    const future = producer.push({ who, n }, data, { partition: who + Math.floor(n / run) });
    if (n % 499 === 498) await future;
    if (n % 997 === 996) future.wait();
    if (n % 32 === 31) await producer.ready;
  }
  await producer.flush();
  if (producer.errorCount > 0) throw producer.errors[0] ?? new Error('events have failed');
  await producer.close();
  return events;
}

/** Looks at everything that is stored: ids without gap, each event once, the events of a producer in order. */
export class NumberedCheck {
  count = 0;
  readonly wrong: string[] = [];
  readonly #seen: readonly Uint8Array[];
  readonly #nextId = new Map<number, bigint>();
  /** Per producer and partition: the last event. */
  readonly #last = new Map<string, number>();

  /** `pushed`: by producer 0, 1, ... */
  constructor(pushed: readonly PushOptions[]) {
    this.#seen = pushed.map(({ events }) => new Uint8Array(events));
  }

  note({ partition, events }: EventBatch<Numbered, Buffer>): void {
    for (const { id, metadata, data } of events) {
      const { who, n } = metadata;
      const where = `producer ${who}, event ${n}, partition ${partition}, id ${id}`;
      if (id !== (this.#nextId.get(partition) ?? 0n)) this.wrong.push(`an id is left out or repeated: ${where}`);
      this.#nextId.set(partition, id + 1n);
      const key = `${who}/${partition}`;
      if (n <= (this.#last.get(key) ?? -1)) this.wrong.push(`out of order: ${where}`);
      this.#last.set(key, n);
      if (data.byteLength !== sizeOf(n) || !isPattern(who + n, data)) this.wrong.push(`other bytes: ${where}`);
      const seen = this.#seen[who] as Uint8Array;
      if (seen[n] === 0) this.count += 1;
      else this.wrong.push(`twice, or never pushed: ${where}`);
      seen[n] = 1;
    }
  }
}
