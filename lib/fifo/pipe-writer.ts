/**
 * Writes lines to a named pipe whose readers come and go, and knows which of them a reader has taken.
 *
 * What was written may still be in the pipe when its reader goes away. So lines are kept until they cannot be in the pipe
 * any more; when there is no reader, what is left in the pipe is taken back out, which tells how far the reader has come,
 * and the line that it has not wholly read, and those behind it, are written again for the next one. A descriptor that
 * stays open, the keeper, makes that possible.
 *
 * Writes are of at most PIPE_BUF bytes, one at a time: each is in the pipe whole or not at all. A full pipe is waited
 * for in the event loop. That a reader has come, or gone while nothing was written, can only be seen by looking; one that
 * comes as soon as another has gone may therefore get the rest of a line first.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { atomicBytes, openForReading, openForWriting, openKeeper, pathOf, pipeBytesMax, readNow } from './pipe-file.js';

/** How often it is looked whether there is a reader, milliseconds. */
const lookMs = 50;

/** What is written: a line with its line feed, and whatever its owner wants to know it by. */
export interface OutgoingLine {
  readonly bytes: Buffer;
}

interface Written<L> {
  readonly line: L;
  /** Bytes written up to its end, since there was last no reader. */
  readonly end: number;
}

export interface WritingLimits {
  /** No further line is begun. */
  readonly stop: AbortSignal;
  /** A line that was begun is given up. */
  readonly cut: AbortSignal;
}

export class PipeWriter<L extends OutgoingLine> {
  readonly #keeper: number;
  readonly #onTaken: (lines: readonly L[]) => void;
  #socket: Socket | undefined;
  #maybeInPipe: Written<L>[] = [];
  #bytesWritten = 0;
  #queue: readonly L[] = [];
  #isEnded = false;
  /** Called when the queue is empty, or no more is taken from it. */
  #onDrained: (() => void) | undefined;
  /** Ends a pause. */
  #wake: (() => void) | undefined;

  /** `onTaken` is told of lines that a reader has taken, in order. */
  constructor(path: string, onTaken: (lines: readonly L[]) => void) {
    this.#keeper = openKeeper(path);
    this.#onTaken = onTaken;
  }

  /** Queues lines; resolves when all are written, by and by, or when run() has ended. */
  async write(lines: readonly L[]): Promise<void> {
    if (this.#isEnded) return undefined;
    this.#queue = [...this.#queue, ...lines];
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      this.#wake?.();
    });
  }

  /** Writes what is queued until it is to stop, also once more what a reader has not taken. */
  async run(limits: WritingLimits): Promise<void> {
    limits.stop.addEventListener('abort', () => this.#wake?.(), { once: true });
    try {
      while (!limits.stop.aborted) {
        if (this.#queue.length > 0) await this.#writeSome(limits);
        else await this.#rest();
      }
    } finally {
      this.#isEnded = true;
      this.#onDrained?.();
    }
  }

  /** Tells what was taken, and closes the pipe. With a reader that is all: the pipe stays until it has read it. */
  close(): void {
    if (this.#hasReader()) this.#tell(this.#maybeInPipe);
    else this.#takeBack();
    this.#socket?.destroy();
    closeSync(this.#keeper);
  }

  async #writeSome(limits: WritingLimits): Promise<void> {
    if (!(await this.#findReader(limits.stop))) return;
    const group = this.#queue.slice(0, groupLength(this.#queue));
    if (await this.#writeGroup(group, limits)) this.#queue = this.#queue.slice(group.length);
    else if (!limits.cut.aborted) this.#queue = [...this.#takeBack(), ...this.#queue];
    this.#forget();
  }

  /** Nothing is queued. */
  async #rest(): Promise<void> {
    this.#onDrained?.();
    await this.#pause();
    if (this.#queue.length === 0 && this.#socket !== undefined && !this.#hasReader()) this.#queue = this.#takeBack();
  }

  /** Until it is time to look for a reader, something is queued, or it is to stop. */
  async #pause(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, lookMs);
    });
    clearTimeout(timer);
  }

  #hasReader(): boolean {
    const probe = openForWriting(pathOf(this.#keeper));
    if (probe !== undefined) closeSync(probe);
    return probe !== undefined;
  }

  /** False when it is to stop. */
  async #findReader(stop: AbortSignal): Promise<boolean> {
    for (;;) {
      if (stop.aborted) return false;
      if (this.#socket !== undefined) return true;
      const fd = openForWriting(pathOf(this.#keeper));
      if (fd === undefined) {
        await this.#pause();
      } else {
        this.#socket = new Socket({ fd, readable: false, writable: true });
        // Each write has its error too.
        this.#socket.on('error', () => undefined);
      }
    }
  }

  /** False when there is no reader any more, or when it is cut off. */
  async #writeGroup(group: readonly L[], { cut }: WritingLimits): Promise<boolean> {
    const socket = this.#socket as Socket;
    const bytes = Buffer.concat(group.map((line) => line.bytes));
    const giveUp = (): void => void socket.destroy();
    cut.addEventListener('abort', giveUp);
    try {
      for (let at = 0; at < bytes.length; at += atomicBytes) {
        const piece = bytes.subarray(at, at + atomicBytes);
        if (!(await isWritten(socket, piece))) return false;
        this.#bytesWritten += piece.length;
      }
    } finally {
      cut.removeEventListener('abort', giveUp);
    }
    let end = this.#bytesWritten - bytes.length;
    for (const line of group) {
      end += line.bytes.length;
      this.#maybeInPipe.push({ line, end });
    }
    return true;
  }

  /** Empties the pipe, which has no reader; returns the lines that none has taken. */
  #takeBack(): L[] {
    this.#socket?.destroy();
    this.#socket = undefined;
    const reader = openForReading(pathOf(this.#keeper));
    const buffer = Buffer.allocUnsafe(64 * 1024);
    let left = 0;
    try {
      for (let count = readNow(reader, buffer); count !== undefined && count > 0; count = readNow(reader, buffer)) {
        left += count;
      }
    } finally {
      closeSync(reader);
    }
    const taken = this.#bytesWritten - left;
    const written = this.#maybeInPipe;
    this.#tell(written.filter(({ end }) => end <= taken));
    this.#maybeInPipe = [];
    this.#bytesWritten = 0;
    return written.filter(({ end }) => end > taken).map(({ line }) => line);
  }

  /** Lines that later ones have pushed out of the pipe were taken. */
  #forget(): void {
    const count = this.#maybeInPipe.findIndex(({ end }) => end > this.#bytesWritten - pipeBytesMax);
    if (count > 0) this.#tell(this.#maybeInPipe.splice(0, count));
  }

  #tell(written: readonly Written<L>[]): void {
    if (written.length > 0) this.#onTaken(written.map(({ line }) => line));
  }
}

/** How many lines are written at once: those that fit, at least one. */
function groupLength(lines: readonly OutgoingLine[]): number {
  let bytes = 0;
  const count = lines.findIndex((line) => {
    bytes += line.bytes.length;
    return bytes > atomicBytes;
  });
  return count < 0 ? lines.length : Math.max(1, count);
}

function isWritten(socket: Socket, piece: Buffer): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) return resolve(false);
    socket.write(piece, (error) => {
      // A write that waits while the socket is destroyed is not told as an error.
      if (error === null || error === undefined) return resolve(!socket.destroyed);
      const { code = '' } = error as NodeJS.ErrnoException;
      if (['EPIPE', 'ECANCELED', 'ERR_STREAM_DESTROYED'].includes(code)) resolve(false);
      else reject(error);
    });
  });
}
