/**
 * Many of everything at once: 1,000 topics; a topic of 64 partitions; 200 consumers that wait; 32 producers in worker
 * threads with batches of 1, of 2, of 1,000 and adaptive ones. All end by themselves, nothing is lost or comes twice, and
 * the servers are at rest behind it. DIASPORA_SCALE multiplies the events of each producer, and the topics on disk up to
 * 1,000.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type Consumer, Driver, type DriverOptions, type Event, fullData, type TopicOptions } from '../../lib/index.js';
import { providerName } from '../support/backends.js';
import { type Numbered, NumberedCheck, type PushOptions, pushNumbered } from '../support/numbered-pushes.js';
import { type ServerProcess, startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const scale = Number(process.env['DIASPORA_SCALE'] ?? 1);
const topics = 1000;
/** On disk every change of a topic is two to six syncs. */
const topicsOnDisk = Math.min(topics, 150 * scale);
const partitions = 64;
const idleConsumers = 200;
const batchSizes = [1, 2, 1000, 0];
const producersOfEach = 8;
const producers = batchSizes.length * producersOfEach;
/** Of each producer: a few thousand, and fewer where each of them is a batch. */
const eventsOf = (batchSize: number): number => (batchSize === 1 || batchSize === 2 ? 500 * batchSize : 4000) * scale;
const all: readonly PushOptions[] = Array.from({ length: producers }, (_, who) => {
  const batchSize = batchSizes[who % batchSizes.length] as number;
  return { who, events: eventsOf(batchSize), batchSize };
});
const events = all.reduce((sum, each) => sum + each.events, 0);
/** Of readers: many batches are of one event, and each is a delivery. */
const maxNumBatches = 64;
/** Requests under way at the same time: as many as a busy program has. */
const requestsMax = 50;

/** Does `work` for all, some at a time. */
async function forAll<T, R>(all: readonly T[], work: (one: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let first = 0; first < all.length; first += requestsMax) {
    const some = all.slice(first, first + requestsMax);
    results.push(...(await Promise.all(some.map((one, i) => work(one, first + i)))));
  }
  return results;
}

/** Creates, lists and describes all, deletes every twentieth, and reads what is in some of the others. */
async function manyTopics(driver: Driver, count: number, kinds: readonly TopicOptions[]): Promise<void> {
  const names = Array.from({ length: count }, (_, i) => `topic-${String(i).padStart(4, '0')}`);
  const kindOf = (i: number): TopicOptions => kinds[i % kinds.length] as TopicOptions;
  const written = (i: number): boolean => i % 7 === 0;
  await forAll(names, (name, i) => driver.createTopic(name, kindOf(i)));
  assert.deepEqual(await driver.listTopics(), names);
  const described = await forAll(names, async (name, i) => {
    const topic = await driver.openTopic<Numbered>(name);
    if (written(i)) await topic.producer().push({ who: i, n: 0 }, undefined, { partition: 0 });
    return topic.describe();
  });
  described.forEach((topic, i) => {
    const { manager = 'log', partitions: parts = 1 } = kindOf(i);
    const stored = [written(i) ? 1n : 0n, ...new Array<bigint>(parts - 1).fill(0n)];
    assert.deepEqual([topic.name, topic.state, topic.manager], [names[i], 'active', manager]);
    assert.deepEqual(
      topic.partitions.map(({ nextId }) => nextId),
      stored,
    );
  });
  const isDeleted = (i: number): boolean => i % 20 === 19;
  await forAll(names, async (name, i) => (isDeleted(i) ? driver.deleteTopic(name) : undefined));
  assert.deepEqual(
    await driver.listTopics(),
    names.filter((_, i) => !isDeleted(i)),
  );
  await forAll(names, async (name, i) => {
    if (isDeleted(i) || !written(i)) return;
    const consumer = (await driver.openTopic<Numbered>(name)).consumer({ name: 'reader' });
    assert.deepEqual((await consumer.pull()).metadata, { who: i, n: 0 });
    await consumer.close();
  });
}

/** Consumers that wait: nothing comes until one event comes for each. */
class Waiting {
  readonly #consumers: readonly Consumer<Numbered, Buffer>[];
  readonly #pulls: readonly PromiseLike<Event<Numbered, Buffer>>[];
  #came = 0;

  private constructor(consumers: readonly Consumer<Numbered, Buffer>[]) {
    this.#consumers = consumers;
    this.#pulls = consumers.map((consumer) => consumer.pull());
    for (const pull of this.#pulls) void pull.then(() => (this.#came += 1));
  }

  static async start(driver: Driver): Promise<Waiting> {
    const topic = await driver.openTopic<Numbered>('quiet');
    const consumers = Array.from({ length: idleConsumers }, (_, i) =>
      topic.consumer({ name: `idle-${i}`, dataSelector: fullData, group: i % 2 === 0 }),
    );
    await Promise.all(consumers.map(({ ready }) => ready));
    return new Waiting(consumers);
  }

  async end(driver: Driver): Promise<void> {
    assert.equal(this.#came, 0);
    const topic = await driver.openTopic<Numbered>('quiet');
    await topic.producer().push({ who: 0, n: 7 }, Buffer.from('at last'));
    for (const pull of this.#pulls) {
      const event = await pull;
      assert.deepEqual([event.metadata, event.data.toString()], [{ who: 0, n: 7 }, 'at last']);
      await event.acknowledge();
    }
    await Promise.all(this.#consumers.map((consumer) => consumer.close()));
    const known = await topic.consumers();
    assert.deepEqual([known.length, known.filter(({ lag }) => lag !== 0n)], [idleConsumers, []]);
  }
}

/** Reads the wide topic while it is written, alone or as the member of a group; counts with the others of the name. */
async function readAll(driver: Driver, name: string, members: number, check = new NumberedCheck(all)): Promise<void> {
  const topic = await driver.openTopic<Numbered>('wide');
  const consumers = Array.from({ length: members }, () =>
    topic.consumer({ name, dataSelector: fullData, group: members > 1, maxNumBatches }),
  );
  await Promise.all(
    consumers.map(async (consumer) => {
      for await (const batch of consumer.batches()) {
        check.note(batch);
        // Those under way go out as one, and close waits for them.
        void batch.acknowledge();
        if (check.count < events && check.wrong.length === 0) continue;
        for (const other of consumers) if (other !== consumer) await other.close();
        break;
      }
      await consumer.close();
    }),
  );
  assert.deepEqual([check.count, check.wrong.slice(0, 10)], [events, []], name);
}

async function endOfWorker(options: DriverOptions, push: PushOptions): Promise<number> {
  const worker = new Worker(new URL('../programs/numbered-worker.js', import.meta.url), {
    workerData: { options, topic: 'wide', ...push },
  });
  const [[pushed], [code]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  assert.equal(code, 0);
  return pushed as number;
}

interface Crowd {
  readonly driver: Driver;
  readonly servers: readonly ServerProcess[];
  /** One producer, from its start to its end. */
  readonly produce: (push: PushOptions) => Promise<number>;
  readonly phase: (what: string) => void;
}

/** Producers, those who read what they write, and those who wait. */
async function crowd({ driver, servers, produce, phase }: Crowd): Promise<void> {
  await driver.createTopic('quiet', { durability: 'sync' });
  await driver.createTopic('wide', { partitions, durability: 'os' });
  const placed = (await (await driver.openTopic('wide')).describe()).partitions.map(({ server }) => server);
  assert.deepEqual([placed.length, new Set(placed).size], [partitions, Math.max(1, servers.length)]);
  const waiting = await Waiting.start(driver);
  phase(`${idleConsumers} consumers wait`);
  const reading = [readAll(driver, 'everything', 1), readAll(driver, 'shared', 4)];
  assert.deepEqual(
    await Promise.all(all.map(produce)),
    all.map((push) => push.events),
  );
  phase(`${producers} producers of ${events} events in all`);
  await Promise.all(reading);
  phase('all were read, by one and by a group of four');
  await waiting.end(driver);
  phase('each that waited has got one');
  for (const server of servers) assert.equal((await server.counters()).sessions, 1);
  await driver.close();
  assert.equal(driver.counters().registrations, 0);
}

/** Says what each phase of a test took. */
function phases(t: TestContext): (what: string) => void {
  let last = performance.now();
  return (what) => {
    const now = performance.now();
    t.diagnostic(`${what}: ${Math.round(now - last)} ms`);
    last = now;
  };
}

const timeout = 600_000;
const inMemory: TopicOptions[] = [{ manager: 'memory' }, { manager: 'memory', partitions: 3 }];
const onDisk: TopicOptions[] = [{ durability: 'os' }, { durability: 'sync' }];

/** A session ends when the server has heard of it. */
async function atRest(server: ServerProcess): Promise<void> {
  for (;;) {
    const { sessions, registrations } = await server.counters();
    if (sessions + registrations === 0) return;
    await sleep(10);
  }
}

for (const [where, count, kinds] of [
  ['in memory', topics, inMemory],
  ['on disk', topicsOnDisk, [...inMemory, ...onDisk]],
] as const) {
  test(`tcp, ${where}: ${count} topics are made, listed, described, deleted and read`, { timeout }, async (t) => {
    const provider = await providerName('tcp');
    const data = where === 'on disk' ? { data: await temporaryDirectory(t) } : {};
    const server = await startServer(t, { ...data, provider });
    const driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider });
    t.after(() => driver.destroy());
    await manyTopics(driver, count, kinds);
    await driver.close();
    await atRest(server);
    await server.close();
  });
}

test(`embedded, in memory: ${topics} topics are made, listed, described, deleted and read`, { timeout }, async (t) => {
  const driver = await Driver.open({ data: false });
  t.after(() => driver.destroy());
  await manyTopics(driver, topics, inMemory);
  await driver.close();
});

test(`tcp, 2 servers: ${producers} producers, ${partitions} partitions and ${idleConsumers} that wait: all end, nothing is lost`, {
  timeout,
}, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('tcp');
  const start = (name: string): Promise<ServerProcess> =>
    startServer(t, { data: join(directory, name), groupFile, provider });
  const servers = [await start('s0'), await start('s1')];
  const options: DriverOptions = { driver: 'fabric', groupFile, provider };
  const driver = await Driver.open(options);
  t.after(() => driver.destroy());
  await crowd({ driver, servers, produce: (push) => endOfWorker(options, push), phase: phases(t) });
  for (const server of servers) {
    await atRest(server);
    await server.close();
  }
});

test(`embedded: ${producers} producers, ${partitions} partitions and ${idleConsumers} that wait: all end, nothing is lost`, {
  timeout,
}, async (t) => {
  const driver = await Driver.open({ data: await temporaryDirectory(t) });
  t.after(() => driver.destroy());
  // A directory belongs to one thread: the producers share its driver.
  const produce = async (push: PushOptions): Promise<number> =>
    pushNumbered(await driver.openTopic<Numbered>('wide'), push);
  await crowd({ driver, servers: [], produce, phase: phases(t) });
});
