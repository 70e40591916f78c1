/** A partition server in a process of its own. */
import type { TestContext } from 'node:test';
import type { ServerCounters, ServerOptions } from '../../lib/index.js';
import { Program } from './program.js';

export interface ServerProcess {
  readonly address: string;
  readonly uuid: string;
  readonly index: number | undefined;
  counters(): Promise<ServerCounters>;
  /** Resident bytes. */
  memory(): Promise<number>;
  close(): Promise<void>;
  kill(): Promise<void>;
}

export async function startServer(
  context: Pick<TestContext, 'after'>,
  options: ServerOptions,
  node: string | readonly string[] = process.execPath,
): Promise<ServerProcess> {
  const program = Program.start(context, 'server', options, node);
  const ready = await program.message<{ address: string; uuid: string; index?: number }>();
  return {
    address: ready.address,
    uuid: ready.uuid,
    index: ready.index,
    counters: () => program.ask<ServerCounters>('counters'),
    memory: () => program.ask<number>('memory'),
    close: async () => {
      await program.ask('close');
      await program.exited;
    },
    kill: () => program.kill(),
  };
}
