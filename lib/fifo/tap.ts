/**
 * A topic into a pipe: the metadata of each event becomes a line of the pipe, in the order of the partitions.
 *
 * An event is acknowledged when a reader has taken its line out of the pipe, so that what nobody has read comes again in
 * the next run, and nothing else does when this ends in order. Events are consumed no faster than they are read.
 */
import { createHash } from 'node:crypto';
import { basename, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Consumer } from '../consumer.js';
import { DiasporaError } from '../errors.js';
import type { Event } from '../event.js';
import type { TopicHandle } from '../topic-handle.js';
import type { LineFormat, TapCommand } from './control-line.js';
import type { AttachmentContext } from './feed.js';
import { type OutgoingLine, PipeWriter } from './pipe-writer.js';

/** How often a consumer that has had all of a complete topic looks whether it was given more, milliseconds. */
const completedMs = 1000;
/** Pause before it is consumed again after an error that may pass, milliseconds. */
const retryMs = 500;

interface EventLine extends OutgoingLine {
  readonly partition: number;
  readonly id: bigint;
}

/** The consumer of a pipe: the same for the same path, and a name that is allowed. */
export function consumerNameOf(path: string): string {
  const whole = resolve(path);
  const readable = basename(whole).replaceAll(/[^\w.-]/g, '_');
  return `fifo.${readable.slice(0, 100)}.${createHash('sha256').update(whole).digest('hex').slice(0, 12)}`;
}

class Tap {
  taken = 0;
  readonly #topic: TopicHandle;
  readonly #command: TapCommand;
  readonly #context: AttachmentContext;
  readonly #writer: PipeWriter<EventLine>;
  readonly #isText: boolean;
  /** Per partition: the event behind the last one that was handed to the writer. */
  readonly #next = new Map<number, bigint>();
  #consumer: Consumer<unknown, undefined> | undefined;

  constructor(topic: TopicHandle, command: TapCommand, context: AttachmentContext) {
    this.#topic = topic;
    this.#command = command;
    this.#context = context;
    this.#isText = ['default', 'json', 'raw'].includes(topic.serializer.type);
    this.#writer = new PipeWriter(command.path, (lines) => this.#acknowledge(lines));
  }

  async run(cut: AbortSignal): Promise<void> {
    const ending = new AbortController();
    const stop = AbortSignal.any([this.#context.stop, ending.signal]);
    const failed = (error: unknown): void => ending.abort(error);
    const writing = this.#writer.run({ stop, cut }).catch(failed);
    try {
      while (!stop.aborted) await this.#consume(stop);
      if (ending.signal.aborted) throw ending.signal.reason;
    } finally {
      ending.abort();
      await writing;
      this.#writer.close();
      await this.#closeConsumer();
    }
  }

  /** Until the signal, or an error that may pass. The consumer is left open for acknowledgements. */
  async #consume(signal: AbortSignal): Promise<void> {
    await this.#closeConsumer();
    const { name, path, batchSize } = this.#command;
    const consumer = this.#topic.consumer({ name: name ?? consumerNameOf(path), batchSize });
    this.#consumer = consumer;
    try {
      while (!signal.aborted && consumer.state === 'open') {
        for await (const { events } of consumer.batches({ signal })) {
          await this.#writer.write(events.filter((event) => this.#isNew(event)).map((event) => this.#lineOf(event)));
        }
        // A complete topic: no event follows, unless the partitions of another of this name come here.
        while (consumer.completed && !signal.aborted) {
          await sleep(completedMs, undefined, { signal }).catch(() => undefined);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof DiasporaError) || !error.retryable) throw error;
      this.#context.note(`${error.message}; trying again`);
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** What is not yet acknowledged comes again with a new consumer, although it is written. */
  #isNew({ partition, id }: Event<unknown, undefined>): boolean {
    if (id < (this.#next.get(partition) ?? 0n)) return false;
    this.#next.set(partition, id + 1n);
    return true;
  }

  #lineOf(event: Event<unknown, undefined>): EventLine {
    const { partition, id } = event;
    return { partition, id, bytes: Buffer.from(`${this.#textOf(event, this.#command.format)}\n`) };
  }

  /** JSON as it is stored, on one line; raw: text as it is, unless it has several lines. */
  #textOf(event: Event<unknown, undefined>, format: LineFormat): string {
    if (format === 'raw') {
      const value = readMetadata(event);
      if (typeof value === 'string' && !/[\r\n]/.test(value)) return value;
    }
    // Line ends within JSON are white space: text has them escaped.
    const text = this.#isText ? event.metadataText : JSON.stringify(readMetadata(event) ?? null);
    return text.replaceAll(/[\r\n]+/g, ' ');
  }

  #acknowledge(lines: readonly EventLine[]): void {
    this.taken += lines.length;
    const last = new Map(lines.map(({ partition, id }) => [partition, id]));
    for (const [partition, id] of last) {
      this.#consumer?.acknowledge(partition, Number(id)).catch((error: unknown) => {
        this.#context.note(`acknowledging failed: ${(error as Error).message}`);
      });
    }
  }

  async #closeConsumer(): Promise<void> {
    // An acknowledgement that failed was told when it did.
    await this.#consumer?.close().catch(() => undefined);
  }
}

/** Undefined when it can't be decoded: the reader gets what is stored, or null. */
function readMetadata(event: Event<unknown, undefined>): unknown {
  try {
    return event.metadata;
  } catch {
    return undefined;
  }
}

/** Writes the events of a topic to the pipe until it is stopped; resolves with how many were taken out of it. */
export async function tap(topic: TopicHandle, command: TapCommand, context: AttachmentContext): Promise<number> {
  const cut = new AbortController();
  const ended = new AbortController();
  const { stop, drainMs } = context;
  const startCut = (): void => {
    sleep(drainMs, undefined, { signal: ended.signal }).then(
      () => cut.abort(),
      () => undefined,
    );
  };
  if (stop.aborted) startCut();
  else stop.addEventListener('abort', startCut, { once: true, signal: ended.signal });
  try {
    const tapping = new Tap(topic, command, context);
    await tapping.run(cut.signal);
    return tapping.taken;
  } finally {
    ended.abort();
  }
}
