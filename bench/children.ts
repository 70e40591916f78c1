/** Child processes of the benchmark: each role runs in a process of its own and reports over the IPC channel. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

function start(role: string, args: readonly string[]): ChildProcess {
  return fork(fileURLToPath(new URL(`./roles/${role}.js`, import.meta.url)), [...args], { execArgv: [] });
}

async function message<T>(child: ChildProcess, role: string): Promise<T> {
  const answered = new AbortController();
  const ended = once(child, 'exit', { signal: answered.signal }).then(([code, signal]) => {
    throw new Error(`the ${role} process ended early (${signal ?? code})`);
  });
  try {
    const [value] = (await Promise.race([once(child, 'message'), ended])) as [T];
    return value;
  } finally {
    answered.abort();
    ended.catch(() => undefined);
  }
}

/** Runs a role to its end and gives what it reported. */
export async function runRole<T>(role: string, args: readonly string[]): Promise<T> {
  const child = start(role, args);
  const exited = once(child, 'exit');
  const result = await message<T>(child, role);
  await exited;
  return result;
}

/** A server process. */
export class BenchServer {
  readonly #child: ChildProcess;
  readonly address: string;

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  static async start(data: string, provider: string, host = '127.0.0.1'): Promise<BenchServer> {
    const child = start('server', [data, provider, host]);
    const { address } = await message<{ address: string }>(child, 'server');
    return new BenchServer(child, address);
  }

  async cpuSeconds(): Promise<number> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`the server process ended early (${signalCode ?? exitCode})`);
    }
    this.#child.send('cpu');
    return (await message<{ cpu: number }>(this.#child, 'server')).cpu;
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.send('stop');
    await exited;
  }
}
