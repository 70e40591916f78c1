/**
 * The daemon behind `diaspora fifo`: takes lines from a control pipe (control-line.ts) and attaches named pipes to
 * topics, until it is stopped. A line that is wrong, and an attachment that fails, is told of and ends nothing else.
 */
import { setMaxListeners } from 'node:events';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Driver } from '../driver.js';
import { DiasporaError } from '../errors.js';
import { type FeedCommand, parseControlLine, type TapCommand } from './control-line.js';
import { feed } from './feed.js';
import { makePipe } from './pipe-file.js';
import { PipeReader } from './pipe-reader.js';
import { tap } from './tap.js';

/** How the daemon is run. */
export interface FifoOptions {
  /** Path of the control file, a named pipe; made unless it is there, and then removed at the end. */
  readonly controlFile: string;
  /** Control lines to begin with. */
  readonly lines: readonly string[];
  /** How long pipes that are still in use are waited for at the end, milliseconds. */
  readonly drainMs: number;
  readonly stop: AbortSignal;
  /** Told when the control file takes lines. */
  readonly onReady: () => unknown;
  /** Told what is worth knowing: attachments, their ends, and what was wrong. */
  readonly onNote: (subject: string, text: string) => void;
  readonly onError: (subject: string, error: unknown) => void;
}

class Daemon {
  readonly #driver: Driver;
  readonly #options: FifoOptions;
  /** By absolute path; each is there until it has ended. */
  readonly #attached = new Map<string, Promise<unknown>>();
  readonly #ending = new AbortController();
  readonly #stop: AbortSignal;

  constructor(driver: Driver, options: FifoOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#stop = AbortSignal.any([options.stop, this.#ending.signal]);
    // Every attachment listens to it.
    setMaxListeners(0, this.#stop);
  }

  async run(): Promise<void> {
    const { controlFile, lines, onReady } = this.#options;
    const isMade = await makePipe(controlFile);
    try {
      const reader = new PipeReader(controlFile);
      for (const line of lines) await this.#obey(line);
      await onReady();
      const failed = new AbortController().signal;
      for await (const run of reader.runs({ stop: this.#stop, drainMs: 0, failed })) {
        for (const { text } of run) await this.#obey(text ?? 'a line that is too long');
      }
    } finally {
      this.#ending.abort();
      if (isMade) await rm(controlFile, { force: true });
      await this.#end();
    }
  }

  /** Does what the line says, or tells why it does not. */
  async #obey(line: string): Promise<void> {
    try {
      const command = parseControlLine(line);
      if (command === undefined) return;
      if (this.#stop.aborted) throw new DiasporaError('ABORTED', 'not done: the daemon is stopping');
      await this.#attach(line.trim(), command);
    } catch (error) {
      this.#options.onError(line.trim(), error);
    }
  }

  async #attach(line: string, command: FeedCommand | TapCommand): Promise<void> {
    const path = resolve(command.path);
    if (this.#attached.has(path)) {
      throw new DiasporaError('INVALID_ARGUMENT', `${command.path} is attached already`, { path });
    }
    const topic = await this.#driver.openTopic(command.topic);
    await makePipe(path);
    const { drainMs, onNote, onError } = this.#options;
    const subject = `${command.path} ${command.kind === 'feed' ? '->' : '<-'} ${command.topic}`;
    const context = { stop: this.#stop, drainMs, note: (text: string) => onNote(subject, text) };
    // Opened before anything is told: a writer that comes then finds its reader.
    const here = { ...command, path };
    const running = here.kind === 'feed' ? feed(topic, here, context) : tap(topic, here, context);
    onNote(line, 'attached');
    const ended = running.then((count) => onNote(subject, `${count} event${count === 1 ? '' : 's'}`));
    const done = ended.finally(() => this.#attached.delete(path));
    done.catch((error: unknown) => onError(subject, error));
    this.#attached.set(path, done);
  }

  /** Rejects with the first failure of those that were attached until now. */
  async #end(): Promise<void> {
    const results = await Promise.allSettled(this.#attached.values());
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

/** Runs until `stop`; then everything that was written to the pipes is stored, and all is closed. */
export function runFifoDaemon(driver: Driver, options: FifoOptions): Promise<void> {
  return new Daemon(driver, options).run();
}
