/**
 * Child programs of tests: started with their options as JSON, spoken to over Node's IPC channel, ended with the test.
 *
 * A program sends `{ ready: ... }` once, then one answer for each request. Only children that were started here are
 * ever signalled.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const programs = join(import.meta.dirname, '..', 'programs');

export class Program {
  /** How it ended. */
  readonly exited: Promise<Exit>;
  /** What it wrote to stderr. */
  stderr = '';
  readonly #child: ChildProcess;
  readonly #waiting: { resolve: (message: never) => void; reject: (error: Error) => void }[] = [];
  readonly #unclaimed: unknown[] = [];

  private constructor(name: string, child: ChildProcess) {
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        resolve({ code, signal });
        const error = new Error(`${name} ended (code ${code}, signal ${signal}): ${this.stderr}`);
        for (const { reject: fail } of this.#waiting.splice(0)) fail(error);
      });
    });
    child.on('message', (message) => {
      const waiting = this.#waiting.shift();
      if (waiting) waiting.resolve(message as never);
      else this.#unclaimed.push(message);
    });
  }

  /**
   * Starts test/programs/NAME.ts, by the node binary `node` or by a command that ends with one. It is killed when the
   * test ends, if it is still there.
   */
  static start(
    context: Pick<TestContext, 'after'>,
    name: string,
    options: object,
    node: string | readonly string[] = process.execPath,
  ): Program {
    const [execPath, ...before] = [node].flat() as [string, ...string[]];
    const child = fork(join(programs, `${name}.js`), [JSON.stringify(options)], {
      execPath,
      execArgv: [...before, '--expose-gc', '--enable-source-maps'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    const program = new Program(name, child);
    context.after(() => program.kill());
    return program;
  }

  /** The next message that it sends. */
  message<T>(): Promise<T> {
    if (this.#unclaimed.length > 0) return Promise.resolve(this.#unclaimed.shift() as T);
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      return Promise.reject(new Error(`the program has ended: ${this.stderr}`));
    }
    return new Promise<T>((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  send(request: string): void {
    this.#child.send(request);
  }

  /** Sends a request; resolves with the answer. */
  ask<T>(request: string): Promise<T> {
    const answer = this.message<T>();
    this.send(request);
    return answer;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close');
  }
}
