/**
 * A pipe into a topic: each line that is written to the pipe becomes the metadata of one event, in order.
 *
 * A line is kept until it is stored; what a failure of the servers has kept from being stored is pushed again (so it may
 * be there twice), and lines that are not yet pushed wait until it is stored. Those behind it that were in flight when it
 * failed may be stored before it. A line that can't be an event is told of and left out. No more is read while too much is
 * not yet stored.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DiasporaError, type ErrorCode } from '../errors.js';
import type { Producer } from '../producer.js';
import { type Pushed, pushWhenReady } from '../push-when-ready.js';
import { parseJson } from '../stages/json.js';
import type { TopicHandle } from '../topic-handle.js';
import type { FeedCommand, LineFormat } from './control-line.js';
import { type Line, lineBytesMax } from './line-splitter.js';
import { PipeReader, type ReadingLimits } from './pipe-reader.js';

/** Runs of lines that are pushed and not yet stored; a run is what was read at once, at most 64 KiB. */
const runsInFlightMax = 16;
/** Pause before lines are pushed again, milliseconds. */
const retryMs = 500;

/** What is wrong with the event and not with the way to the server: others can be stored. */
const codesOfEvents: readonly ErrorCode[] = ['INVALID_METADATA', 'EVENT_TOO_LARGE', 'INVALID_PARTITION'];

/** How an attachment is ended and to whom it tells what is worth knowing. */
export interface AttachmentContext extends Pick<ReadingLimits, 'stop' | 'drainMs'> {
  readonly note: (text: string) => void;
}

interface PushedLine extends Pushed {
  readonly line: Line;
  readonly metadata: string;
}

class Feed {
  stored = 0;
  /** Lines that were read and are neither stored nor left out. */
  pending = 0;
  readonly #producer: Producer<unknown>;
  readonly #format: LineFormat;
  readonly #context: AttachmentContext;
  readonly #failed: AbortController;
  readonly #inFlight: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();
  /** Something was not stored that will be pushed again: nothing more is pushed before it. */
  #hasFailed = false;

  constructor(
    producer: Producer<unknown>,
    format: LineFormat,
    context: AttachmentContext,
    /** Aborted with the error when nothing more can be stored. */
    failed: AbortController,
  ) {
    this.#producer = producer;
    this.#format = format;
    this.#context = context;
    this.#failed = failed;
  }

  async take(lines: readonly Line[]): Promise<void> {
    this.pending += lines.length;
    let pushed: PushedLine[] = [];
    for (const line of lines) {
      const metadata = this.#metadataOf(line);
      if (metadata === undefined) {
        this.pending -= 1;
        continue;
      }
      // Waited for here as well: it comes with the failure of what was in its way.
      await this.#producer.ready;
      if (this.#hasFailed) {
        await this.#settleLater(pushed);
        pushed = [];
        await this.#last;
        this.#hasFailed = false;
      }
      pushed.push(await this.#push(line, metadata));
    }
    await this.#settleLater(pushed);
  }

  /** Everything is stored, or this rejects with why it is not. */
  async end(): Promise<void> {
    this.#producer.flush();
    await this.#last;
  }

  #metadataOf(line: Line): string | undefined {
    const { text, isMended, number } = line;
    if (text === undefined) {
      this.#context.note(`line ${number} is longer than ${lineBytesMax} bytes and was left out`);
      return undefined;
    }
    if (isMended) this.#context.note(`line ${number} is not UTF-8; what is not was replaced`);
    if (this.#format === 'raw') return JSON.stringify(text);
    if (text.trim() === '') return undefined;
    try {
      parseJson(text);
      return text;
    } catch (error) {
      this.#leaveOut(line, error);
      return undefined;
    }
  }

  async #push(line: Line, metadata: string): Promise<PushedLine> {
    const { stored } = await pushWhenReady(this.#producer, metadata);
    stored.catch((error) => {
      if (!isOfEvent(error)) this.#hasFailed = true;
    });
    return { line, metadata, stored };
  }

  /** Behind what was pushed before. Returns when not too many runs are in flight. */
  async #settleLater(run: readonly PushedLine[]): Promise<void> {
    if (run.length === 0) return;
    const before = this.#last;
    this.#last = before.then(() => this.#settle(run));
    this.#last.catch((error) => this.#failed.abort(error));
    this.#inFlight.push(this.#last);
    if (this.#inFlight.length >= runsInFlightMax) await this.#inFlight.shift();
  }

  /** Returns when each of `run` is stored or left out. */
  async #settle(run: readonly PushedLine[]): Promise<void> {
    let left = run;
    for (;;) {
      const { failed, reason } = await this.#settleOnce(left);
      if (failed.length === 0) return;
      await this.#pauseAfter(reason, failed.length);
      const again: PushedLine[] = [];
      for (const { line, metadata } of failed) again.push(await this.#push(line, metadata));
      left = again;
    }
  }

  /** What failed, and might not the next time; with the first reason. */
  async #settleOnce(run: readonly PushedLine[]): Promise<{ failed: readonly PushedLine[]; reason: unknown }> {
    const failed: PushedLine[] = [];
    let reason: unknown;
    for (const pushed of run) {
      try {
        await pushed.stored;
        this.stored += 1;
        this.pending -= 1;
      } catch (error) {
        if (isOfEvent(error)) {
          this.#leaveOut(pushed.line, error);
          this.pending -= 1;
        } else {
          failed.push(pushed);
          reason ??= error;
        }
      }
    }
    return { failed, reason };
  }

  /** Throws `reason` when it will not pass, or when all is to end. */
  async #pauseAfter(reason: unknown, count: number): Promise<void> {
    const mayPass = reason instanceof DiasporaError && reason.retryable;
    if (!mayPass || this.#context.stop.aborted) throw reason;
    this.#context.note(`${count} line${count === 1 ? ' was' : 's were'} not stored: ${reason.message}; trying again`);
    await sleep(retryMs, undefined, { signal: this.#context.stop }).catch(() => undefined);
  }

  #leaveOut({ number }: Line, error: unknown): void {
    this.#context.note(`line ${number} was left out: ${(error as Error).message}`);
  }
}

function isOfEvent(error: unknown): boolean {
  return error instanceof DiasporaError && codesOfEvents.includes(error.code);
}

/**
 * Stores what is written to the pipe until it is stopped; resolves with how many lines. The pipe is open when this
 * returns its promise, and closed when that settles.
 */
export async function feed(
  topic: TopicHandle,
  { path, format, batchSize }: FeedCommand,
  context: AttachmentContext,
): Promise<number> {
  const failed = new AbortController();
  const producer = topic.producer({ batchSize });
  const feeding = new Feed(producer, format, context, failed);
  try {
    const { stop, drainMs } = context;
    const reader = new PipeReader(path);
    for await (const lines of reader.runs({ stop, drainMs, failed: failed.signal })) await feeding.take(lines);
    if (reader.hasCutWriter) context.note('a writer still has the pipe open; it is told with its next write');
    await feeding.end();
    return feeding.stored;
  } catch (error) {
    if (feeding.pending > 0) context.note(`${feeding.pending} of the lines that were read are lost`);
    throw error;
  } finally {
    await producer.close().catch(() => undefined);
  }
}
