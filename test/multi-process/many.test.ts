/**
 * Several servers, partitions, producer and consumer processes at once. DIASPORA_SCALE multiplies the number of events
 * (default 1: a second or so; 40: a million small events and 2,000 of 1 MiB).
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Driver } from '../../lib/index.js';
import type { ConsumerProgramOptions } from '../programs/consumer.js';
import type { ProducerProgramOptions } from '../programs/producer.js';
import { providerName } from '../support/backends.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const scale = Number(process.env['DIASPORA_SCALE'] ?? 1);

interface Scenario {
  readonly servers: number;
  readonly partitions: number;
  readonly producers: number;
  readonly events: number;
  readonly dataBytes: number;
}

const scenarios: Scenario[] = [
  { servers: 2, partitions: 4, producers: 1, events: 25_000 * scale, dataBytes: 0 },
  { servers: 2, partitions: 4, producers: 1, events: 50 * scale, dataBytes: 1024 * 1024 },
  { servers: 3, partitions: 4, producers: 2, events: 2000 * scale, dataBytes: 3000 },
];

for (const kind of ['tcp', 'shm'] as const) {
  for (const { servers, partitions, producers, events, dataBytes } of scenarios) {
    const what = `${producers} producers, ${partitions} partitions on ${servers} servers, ${events} events of ${dataBytes} B`;
    test(`${kind}: ${what} arrive once, in order, byte by byte`, { timeout: 600_000 }, async (t) => {
      const directory = await temporaryDirectory(t);
      const groupFile = join(directory, 'group.json');
      const provider = await providerName(kind);
      for (let i = 0; i < servers; i += 1)
        await startServer(t, { data: join(directory, `s${i}`), groupFile, provider });
      const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
      await driver.createTopic('t', { partitions, durability: 'os' });
      const { partitions: placed } = await (await driver.openTopic('t')).describe();
      assert.equal(new Set(placed.map(({ server }) => server)).size, Math.min(servers, partitions));
      const common = { groupFile, provider, topic: 't', dataBytes };
      const whole = events * producers;
      // Two consumers that read everything and two that share the partitions.
      const all = [...Array(partitions).keys()];
      const halves = [all.filter((p) => p % 2 === 0), all.filter((p) => p % 2 === 1)];
      const readers = [all, all, ...halves].map((mine, i): ConsumerProgramOptions => {
        return { ...common, name: `c${i}`, partitions: mine, events: (whole * mine.length) / partitions };
      });
      const consumers = readers.map((options) => Program.start(t, 'consumer', options));
      const writers = Array.from({ length: producers }, (_, who) => {
        const options: ProducerProgramOptions = { ...common, who, events };
        return Program.start(t, 'producer', options);
      });
      for (const writer of writers) {
        assert.deepEqual(await writer.message(), { pushed: events, acknowledged: events, errors: 0 });
        assert.deepEqual(await writer.exited, { code: 0, signal: null });
      }
      for (const [i, consumer] of consumers.entries()) {
        assert.deepEqual(await consumer.message(), { seen: readers[i]?.events, wrong: [] });
        assert.deepEqual(await consumer.exited, { code: 0, signal: null });
      }
      await driver.close();
    });
  }
}
