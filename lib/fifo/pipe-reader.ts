/**
 * Reads the lines of a named pipe whose writers come and go, and loses none of them.
 *
 * One descriptor, the keeper, stays open from beginning to end, so what was written stays in the pipe whoever goes. What
 * is read comes through sessions: one ends with the last writer (only then is a line without a line feed complete), and
 * the next waits for writers in the event loop, without polling. A descriptor that was opened while there was no writer
 * is told when a later one has gone, but not of one that came and went before; so a session begins by reading what there
 * is at once.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Line, LineSplitter } from './line-splitter.js';
import { openForReading, pathOf, pipeBytesMax, readNow } from './pipe-file.js';

const chunkBytes = 64 * 1024;
/** How often a pipe is looked at that has a writer and nothing in it, while all is to end; milliseconds. */
const drainPollMs = 10;

export interface ReadingLimits {
  /** Ends the reading in order: what the writers have written is read first. */
  readonly stop: AbortSignal;
  /** How long writers that do not close the pipe are waited for then, milliseconds. */
  readonly drainMs: number;
  /** Ends the reading at once, with its reason. */
  readonly failed: AbortSignal;
}

export class PipeReader {
  readonly #keeper: number;
  readonly #splitter = new LineSplitter();
  readonly #buffer = Buffer.allocUnsafe(chunkBytes);
  /** There was still a writer when the reading ended: it will be told with its next write. */
  hasCutWriter = false;

  constructor(path: string) {
    this.#keeper = openForReading(path);
  }

  /** Runs of lines, as they come together. The pipe is closed when this ends. */
  async *runs(limits: ReadingLimits): AsyncGenerator<Line[], void, void> {
    try {
      while (!limits.stop.aborted) yield* this.#session(limits);
      yield* this.#drain(limits);
    } finally {
      closeSync(this.#keeper);
    }
  }

  async *#session(limits: ReadingLimits): AsyncGenerator<Line[], void, void> {
    const fd = openForReading(pathOf(this.#keeper));
    let socket: Socket | undefined;
    try {
      yield* this.#readThere();
      socket = new Socket({ fd, readable: true, writable: false });
      if (!(yield* this.#readUntilEnd(socket, limits))) return;
    } finally {
      if (socket === undefined) closeSync(fd);
      else socket.destroy();
    }
    if (socket.errored) throw socket.errored;
    yield* someOf(this.#splitter.end());
  }

  /** Returns whether the writers have gone; else it is to stop, and what the socket took out of the pipe is read. */
  async *#readUntilEnd(socket: Socket, limits: ReadingLimits): AsyncGenerator<Line[], boolean, void> {
    const wake = new Wake(socket, limits);
    try {
      for (;;) {
        limits.failed.throwIfAborted();
        const chunk = socket.read() as Buffer | null;
        if (chunk !== null) yield* someOf(this.#splitter.push(chunk));
        else if (socket.readableEnded || socket.destroyed) return true;
        else if (limits.stop.aborted) return false;
        else await wake.next();
      }
    } finally {
      wake.end();
    }
  }

  /** As much as a pipe can hold: what was there before. */
  *#readThere(): Generator<Line[], void, void> {
    for (let left = pipeBytesMax; left > 0; left -= chunkBytes) {
      const count = readNow(this.#keeper, this.#buffer);
      if (count === 0) yield* someOf(this.#splitter.end());
      if (count === undefined || count === 0) return;
      yield* someOf(this.#splitter.push(this.#buffer.subarray(0, count)));
    }
  }

  async *#drain({ drainMs, failed }: ReadingLimits): AsyncGenerator<Line[], void, void> {
    const deadline = performance.now() + drainMs;
    for (let isLast = false; !isLast; ) {
      isLast = performance.now() >= deadline;
      yield* this.#readThere();
      const count = readNow(this.#keeper, this.#buffer);
      if (count === 0) break;
      if (count !== undefined) yield* someOf(this.#splitter.push(this.#buffer.subarray(0, count)));
      this.hasCutWriter = isLast;
      if (!isLast) await sleep(drainPollMs);
      failed.throwIfAborted();
    }
    yield* someOf(this.#splitter.end());
  }
}

function* someOf(lines: Line[]): Generator<Line[], void, void> {
  if (lines.length > 0) yield lines;
}

/** Resolves whenever something may have changed. */
class Wake {
  readonly #end = new AbortController();
  #resolve: (() => void) | undefined;
  #isDue = false;

  constructor(socket: Socket, { stop, failed }: ReadingLimits) {
    const wake = (): void => {
      this.#isDue = true;
      this.#resolve?.();
    };
    for (const event of ['readable', 'end', 'error', 'close']) socket.on(event, wake);
    for (const signal of [stop, failed]) signal.addEventListener('abort', wake, { signal: this.#end.signal });
  }

  async next(): Promise<void> {
    if (!this.#isDue) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
    }
    this.#isDue = false;
  }

  end(): void {
    this.#end.abort();
  }
}
