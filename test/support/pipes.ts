/** The other ends of named pipes: programs that write and read them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves with what `look` gives as soon as that is not undefined; the test's own watchdog ends what never comes. */
export async function until<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(5);
  }
}

/** Runs `script` in a shell with the arguments $1, $2, ...; resolves when it has ended. */
export async function shell(script: string, ...args: string[]): Promise<void> {
  const child = spawn('sh', ['-ec', script, 'sh', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${script}: code ${code}`);
}

/** One writer: opens the pipe, writes all of `text`, closes it. */
export async function writeText(path: string, text: string): Promise<void> {
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const bytes = Buffer.from(text);
  try {
    for (let at = 0; at < bytes.length; ) at += await until(() => tryIo(() => writeSync(fd, bytes, at)));
  } finally {
    closeSync(fd);
  }
}

/** A reader of a pipe that reads when it is told to. */
export class Reader {
  readonly #fd: number;
  #rest = '';

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** What is there, at most `max` bytes; undefined when there is nothing. */
  read(max = 2 ** 20): string | undefined {
    const buffer = Buffer.alloc(max);
    const count = tryIo(() => readSync(this.#fd, buffer)) ?? 0;
    return count === 0 ? undefined : buffer.toString('utf8', 0, count);
  }

  /** Waits for so many lines, at least; part of a line is kept for the next time. */
  async lines(count: number): Promise<string[]> {
    let text = this.#rest;
    while (text.split('\n').length <= count) text += await until(() => this.read());
    const lines = text.split('\n');
    this.#rest = lines.pop() as string;
    return lines;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function tryIo(io: () => number): number | undefined {
  try {
    return io();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}
