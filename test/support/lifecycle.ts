/** What lifecycle tests share: how often, and under which Node versions. */
import { type TestContext, test } from 'node:test';
import { type Exit, Program } from './program.js';

/** Rounds of each case; 3 shows that it works, 200 that it does not crash now and then. */
export const rounds: number = Number(process.env['DIASPORA_LIFECYCLE_ROUNDS'] ?? 3);

/** Paths of node binaries to run the programs with, separated by colons; by default the one that runs the tests. */
const nodes = (process.env['DIASPORA_NODE'] ?? process.execPath).split(':');

/** Runs a program to its end. */
export async function runProgram(
  context: TestContext,
  name: string,
  options: object,
  node: string,
): Promise<{ exit: Exit; stderr: string; told: unknown }> {
  const program = Program.start(context, name, options, node);
  // Programs that end abruptly tell nothing.
  const told = program.message<unknown>().catch(() => undefined);
  const exit = await program.exited;
  return { exit, stderr: program.stderr, told: await told };
}

/** One test for each Node version. */
export function everyNode(name: string, run: (context: TestContext, node: string) => Promise<void>): void {
  for (const node of nodes) {
    const where = node === process.execPath ? '' : ` (${node})`;
    test(`${name}${where}`, { timeout: 600_000 }, (context) => run(context, node));
  }
}
