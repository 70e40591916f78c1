/**
 * What the drivers and workers of one process share: one session at each server, whatever they are many of. Nobody is
 * harmed by another's end, and nobody starves when there are more consumers than memory for all of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Driver, fullData, type TopicHandle } from '../../lib/index.js';
import { providerName } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { startServer } from '../support/server-process.js';

const timeout = 120_000;

/** One worker with a driver of its own, at work; resolves when it has begun. */
async function startWorker(driver: object, topic: string): Promise<Worker> {
  const worker = new Worker(new URL('../programs/lifecycle-worker.js', import.meta.url), {
    workerData: { driver, topic },
  });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  return worker;
}

for (const kind of ['tcp', 'shm'] as const) {
  test(`${kind}: drivers and workers share a session, and outlive each other`, { timeout }, async (t) => {
    const provider = await providerName(kind);
    const server = await startServer(t, { provider });
    const options = { driver: 'fabric', servers: [server.address], provider } as const;
    const drivers = await Promise.all([Driver.open(options), Driver.open(options), Driver.open(options)]);
    const [first, second, third] = drivers as [Driver, Driver, Driver];
    t.after(() => Promise.all(drivers.map((driver) => driver.destroy())));
    await first.createTopic('t');
    await first.createTopic('noise');
    const workers = [await startWorker(options, 'noise'), await startWorker(options, 'noise')];
    assert.equal((await server.counters()).sessions, 1);

    const topic = await third.openTopic<{ n: number }>('t');
    const producer = topic.producer();
    const futures: PromiseLike<bigint>[] = [];
    const pushSome = (count: number): void => {
      for (const end = futures.length + count; futures.length < end; ) {
        const n = futures.length;
        futures.push(producer.push({ n }, pattern(n, 100_000)));
      }
    };
    pushSome(30);
    await workers[0]?.terminate();
    pushSome(30);
    await first.close();
    pushSome(30);
    await workers[1]?.terminate();
    pushSome(30);
    await second.destroy();
    const ids = await Promise.all(futures);
    assert.deepEqual(
      ids.map(Number),
      futures.map((_, n) => n),
    );
    assert.equal((await server.counters()).sessions, 1);
    const consumer = topic.consumer({ name: 'reader', dataSelector: fullData });
    let n = 0;
    for await (const { metadata, data } of consumer) {
      assert.equal(metadata.n, n);
      assert.ok(isPattern(n, data));
      n += 1;
      if (n === futures.length) break;
    }
    await third.close();
    await server.close();
  });
}

test('a thousand idle consumers cost one session and no memory, and none starves', { timeout }, async (t) => {
  const provider = await providerName('tcp');
  const server = await startServer(t, { provider });
  const driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider });
  t.after(() => driver.destroy());
  await driver.createTopic('t');
  const topic: TopicHandle<{ n: number }> = await driver.openTopic('t');
  const consumers = Array.from({ length: 1000 }, (_, k) => topic.consumer({ name: `c${k}`, dataSelector: fullData }));
  await Promise.all(consumers.map((consumer) => consumer.ready));
  assert.equal((await server.counters()).sessions, 1);
  assert.equal(driver.counters().registrations, 0);
  // More than fits into a message: each of them needs memory that the server writes into.
  const producer = topic.producer();
  await producer.push({ n: 7 }, pattern(7, 100_000));
  for (const consumer of consumers) {
    const event = await consumer.pull();
    assert.ok(event !== undefined && event !== null);
    assert.ok(isPattern(7, (event as { data: Uint8Array }).data));
  }
  await driver.close();
  await server.close();
});
