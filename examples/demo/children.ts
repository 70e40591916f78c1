/**
 * The demo's child processes: started here, watched here, and ended here, whatever happens. A child that ends early with
 * an error fails the demo; nothing but these processes is ever killed.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { FromChild } from './messages.js';

const running = new Set<ChildProcess>();

function watch(name: string, child: ChildProcess): Promise<void> {
  running.add(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      running.delete(child);
      if (code === 0) resolve();
      else reject(new Error(`the ${name} process ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}

/** Asks every child to end and waits until all have; those that do not within 10 s are killed. */
export async function stopChildren(): Promise<void> {
  const children = [...running];
  const ended = children.map((child) => new Promise((resolve) => child.once('exit', resolve)));
  for (const child of children) child.kill('SIGTERM');
  const timer = setTimeout(() => {
    for (const child of running) child.kill('SIGKILL');
  }, 10_000);
  await Promise.all(ended);
  clearTimeout(timer);
}

/** A producer or consumer: told what to do by messages, tells how far it is. */
export class Worker<Report> {
  readonly ended: Promise<void>;
  private readonly child: ChildProcess;
  private onMessage: (message: FromChild<Report>) => void = () => {};

  constructor(name: string, script: string) {
    this.child = fork(fileURLToPath(new URL(script, import.meta.url)), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.child.on('message', (message) => this.onMessage(message as FromChild<Report>));
    this.ended = watch(name, this.child);
    // Looked at by whoever awaits `next`; this only keeps Node from taking it for an error that nobody handles.
    this.ended.catch(() => {});
  }

  tell(message: object | string): void {
    this.child.send(message);
  }

  /** The next 'ready' or 'report'; fails when the child ends without. */
  next(onProgress: (events: number) => void = () => {}): Promise<Exclude<FromChild<Report>, { type: 'progress' }>> {
    const message = new Promise<Exclude<FromChild<Report>, { type: 'progress' }>>((resolve) => {
      this.onMessage = (received) => (received.type === 'progress' ? onProgress(received.events) : resolve(received));
    });
    const early = this.ended.then(() =>
      Promise.reject(new Error('a process of the demo ended before its work was done')),
    );
    return Promise.race([message, early]);
  }
}

export interface ServerReady {
  readonly address: string;
  readonly providers: readonly string[];
}

/** `diaspora serve`, as an operator would start it. */
export class ServerProcess {
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;
  private readonly lines: AsyncIterableIterator<string>;

  constructor(args: readonly string[]) {
    const cli = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
    this.child = spawn(process.execPath, [cli, 'serve', '--json', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = watch('server', this.child);
    this.ended.catch(() => {});
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  private async line(): Promise<unknown> {
    const { value, done } = await this.lines.next();
    if (!done) return JSON.parse(value);
    await this.ended;
    throw new Error('the server ended without a word');
  }

  /** Resolves when clients can connect. */
  async ready(): Promise<ServerReady> {
    return (await this.line()) as ServerReady;
  }

  /** Stops it as Ctrl-C does; what it counted. */
  async stop<Counters>(): Promise<Counters> {
    this.child.kill('SIGTERM');
    const { counters } = (await this.line()) as { counters: Counters };
    await this.ended;
    return counters;
  }
}
