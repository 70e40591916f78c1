/**
 * Every way in which a process, worker, buffer or handle can end while work is under way: nothing crashes or hangs.
 * DIASPORA_LIFECYCLE_ROUNDS: rounds of each case; DIASPORA_NODE: node binaries, separated by colons.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Driver, type DriverOptions } from '../../lib/index.js';
import type { LifecycleOptions } from '../programs/lifecycle.js';
import { providerName } from '../support/backends.js';
import { everyNode, rounds, runProgram } from '../support/lifecycle.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

interface Place {
  readonly options: DriverOptions;
  /** Events stored in the topic. */
  stored(): Promise<number>;
}

async function countEvents(options: DriverOptions): Promise<number> {
  const driver = await Driver.open(options);
  const { partitions } = await (await driver.openTopic('t')).describe();
  await driver.close();
  return partitions.reduce((sum, { nextId }) => sum + Number(nextId), 0);
}

const places: Record<string, (t: TestContext) => Promise<Place>> = {
  embedded: async (t) => {
    const options = { data: join(await temporaryDirectory(t), 'data') };
    const driver = await Driver.open(options);
    await driver.createTopic('t', { partitions: 2, durability: 'os' });
    await driver.close();
    return { options, stored: () => countEvents(options) };
  },
  tcp: async (t) => {
    const provider = await providerName('tcp');
    // On disk: the events of hundreds of rounds are more than a server's memory.
    const server = await startServer(t, { provider, data: join(await temporaryDirectory(t), 'data') });
    // Machines that run this for hours are seldom idle.
    const options: DriverOptions = { driver: 'fabric', servers: [server.address], provider, connectTimeoutMs: 60_000 };
    const driver = await Driver.open(options);
    await driver.createTopic('t', { partitions: 2, durability: 'os' });
    await driver.close();
    return { options, stored: () => countEvents(options) };
  },
};

/** What must hold after a program has ended. */
interface Expectation {
  readonly ending: LifecycleOptions['ending'];
  readonly title: string;
  /** Events that must be stored for each round. */
  readonly stored?: number;
  /** Codes that pushes may have ended with. */
  readonly codes?: readonly string[];
}

const expectations: Expectation[] = [
  { ending: 'exitWithoutClose', title: 'a process that closes nothing stores what it pushed and ends', stored: 120 },
  { ending: 'exitIdle', title: 'an idle driver, producer and consumer let the process end', stored: 1 },
  { ending: 'exitInFlush', title: 'process.exit in the middle of a flush' },
  { ending: 'exitAtOnce', title: 'process.exit right behind pushes' },
  { ending: 'destroyInFlight', title: 'destroy in the middle of transfers' },
  { ending: 'collectProducers', title: 'producers and consumers that are forgotten are collected', stored: 300 },
  {
    ending: 'transferInFlight',
    title: 'buffers that are transferred after push',
    codes: ['DATA_CHANGED', 'INVALID_DATA', 'stored'],
  },
  {
    ending: 'shrinkInFlight',
    title: 'buffers that are shrunk after push',
    codes: ['DATA_CHANGED', 'INVALID_DATA', 'stored'],
  },
  { ending: 'terminateWorkers', title: 'worker threads that are terminated in the middle of transfers' },
];

for (const [where, makePlace] of Object.entries(places)) {
  for (const { ending, title, stored, codes } of expectations) {
    everyNode(`${where}: ${title}`, async (t, node) => {
      const place = await makePlace(t);
      for (let round = 0; round < rounds; round += 1) {
        const options: LifecycleOptions = { ending, driver: place.options, topic: 't', random: (round * 0.37) % 1 };
        const { exit, stderr, told } = await runProgram(t, 'lifecycle', options, node);
        assert.deepEqual(exit, { code: 0, signal: null }, `round ${round}: ${stderr}`);
        for (const code of (told as string[] | undefined) ?? [])
          assert.ok(codes?.includes(code), `round ${round}: ${code}`);
      }
      if (stored !== undefined) assert.equal(await place.stored(), stored * rounds);
    });
  }
}
