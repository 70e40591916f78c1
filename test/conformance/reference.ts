/**
 * What the test suite of the Diaspora Stream API asks of any driver, and what it leaves open, on every driver, provider
 * and partition manager. docs/parity.md has its list, test by test.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BatchSize,
  type DataDescriptor,
  type Driver,
  type EventData,
  fullData,
  Ordering,
  type TopicHandle,
} from '../../lib/index.js';
import type { Backend, Place } from '../support/backends.js';
import { type Numbered, newTopic, pullAll, watchdog, withPlace } from './kit.js';

function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

async function produce(topic: TopicHandle<Numbered>, count: number, dataOf?: (n: number) => EventData): Promise<void> {
  const producer = topic.producer();
  for (let n = 0; n < count; n += 1) producer.push({ n }, dataOf?.(n));
  await producer.close();
}

export function referenceConformance(backend: Backend): void {
  describe(`${backend.name}: what the reference asks`, watchdog, () => {
    let place: Place;
    let driver: Driver;
    withPlace(backend, (opened, its) => {
      place = opened;
      driver = its;
    });

    test('a topic is not there, is made once, found, and listed among many', watchdog, async () => {
      const { manager } = place;
      const names = range(20).map((n) => `listed-${n}`);
      assert.equal(await driver.topicExists('listed-0'), false);
      await assert.rejects(driver.openTopic('listed-0'), { code: 'TOPIC_NOT_FOUND' });
      for (const name of names) await driver.createTopic(name, { manager });
      assert.equal(await driver.topicExists('listed-0'), true);
      await assert.rejects(driver.createTopic('listed-0', { manager }), { code: 'TOPIC_EXISTS' });
      const listed = await driver.listTopics();
      assert.deepEqual(
        names.filter((name) => !listed.includes(name)),
        [],
      );
      const topic = await driver.openTopic('listed-19');
      assert.deepEqual([topic.driver, topic.name, topic.partitions], [driver, 'listed-19', 1]);
      for (const stage of [topic.validator, topic.partitionSelector, topic.serializer]) {
        assert.deepEqual(stage, { type: 'default' });
      }
    });

    test('of many who create one topic at the same time, one does', watchdog, async () => {
      const { manager } = place;
      const results = await Promise.allSettled(range(8).map(() => driver.createTopic('wanted', { manager })));
      const refused = results.filter((result) => result.status === 'rejected');
      assert.deepEqual(
        refused.map(({ reason }) => (reason as { code: string }).code),
        new Array(7).fill('TOPIC_EXISTS'),
      );
    });

    test('producers and consumers tell what they were made with', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const threadPool = driver.makeThreadPool(0);
      const producer = topic.producer({
        name: 'p',
        batchSize: 7,
        maxNumBatches: 3,
        ordering: Ordering.Loose,
        threadPool,
      });
      assert.deepEqual([producer.name, producer.topic, producer.state], ['p', topic.name, 'open']);
      assert.deepEqual([producer.batchSize, producer.maxNumBatches], [BatchSize.of(7), 3]);
      assert.deepEqual([producer.ordering, producer.threadPool], [Ordering.Loose, threadPool]);
      const consumer = topic.consumer({ name: 'c', batchSize: 5, maxNumBatches: 4, threadPool });
      assert.deepEqual([consumer.name, consumer.topic, consumer.state], ['c', topic.name, 'open']);
      assert.deepEqual([consumer.batchSize, consumer.maxNumBatches], [BatchSize.of(5), 4]);
      await consumer.ready;
      assert.deepEqual([consumer.partitions, consumer.threadPool], [[0], threadPool]);
      await Promise.all([producer.close(), consumer.close()]);
    });

    test('every batch size, ordering and number of threads stores events with and without data', watchdog, async () => {
      for (const batchSize of [BatchSize.adaptive(), BatchSize.of(10)]) {
        for (const ordering of [Ordering.Strict, Ordering.Loose]) {
          for (const threads of [0, 1, 2]) {
            const topic = await newTopic(driver, place, place.manager === 'log' ? { durability: 'os' } : {});
            const producer = topic.producer({ batchSize, ordering, threadPool: driver.makeThreadPool(threads) });
            const shapes = [undefined, new Uint8Array(0), [], [new Uint8Array(0)], Buffer.from('some data')];
            for (let n = 0; n < 200; n += 1) {
              producer.push({ n }, n < 100 ? shapes[n % 4] : shapes[4]);
              if (n % 5 === 4) producer.flush();
            }
            await producer.flush();
            assert.deepEqual([producer.errorCount, producer.pending.events], [0, 0]);
            await producer.close();
            const consumer = topic.consumer({ name: 'c', dataSelector: fullData });
            const events = await pullAll(consumer, 200);
            const bytes = events.map(({ metadata, data }) => [metadata.n < 100, data.length]);
            const expected = (isEmpty: unknown): unknown[] => (isEmpty === true ? [true, 0] : [false, 9]);
            for (const one of bytes) assert.deepEqual(one, expected(one[0]));
            const numbers = events.map(({ metadata }) => metadata.n);
            assert.deepEqual(ordering === Ordering.Strict ? numbers : numbers.sort((a, b) => a - b), range(200));
            await consumer.close();
          }
        }
      }
    });

    test(
      'a hundred events come in order, acknowledged every five; then pulls only run out of time',
      watchdog,
      async () => {
        const topic = await newTopic(driver, place);
        await produce(topic, 100);
        const consumer = topic.consumer({ name: 'c' });
        for (let n = 0; n < 100; n += 1) {
          const event = consumer.pull().wait();
          assert.deepEqual([event?.id, event?.metadata], [BigInt(n), { n }]);
          assert.equal(event?.data, undefined);
          if (n % 5 === 4) await event?.acknowledge();
        }
        const late = range(10).map(() => consumer.pull());
        for (const pull of late) assert.equal(pull.wait(2), undefined);
        await produce(topic, 10);
        // The same futures, in their order.
        assert.deepEqual(
          late.map((pull) => pull.wait()?.id),
          range(10).map((n) => BigInt(100 + n)),
        );
        await consumer.close();
        const [{ lag } = { lag: undefined }] = await topic.consumers('c');
        assert.equal(lag, 10n);
      },
    );

    test('a selector that wants every second event gets the data of those only', watchdog, async () => {
      const topic = await newTopic(driver, place);
      await produce(topic, 100, (n) => Buffer.from(`data of ${n}`));
      const asked: number[] = [];
      const consumer = topic.consumer({
        name: 'c',
        dataSelector: ({ n }, data) => (n % 2 === 0 ? data : undefined),
        dataAllocator: ({ n }, { size }) => {
          asked.push(n);
          return Buffer.alloc(size);
        },
      });
      for (const { metadata, data } of await pullAll(consumer, 100)) {
        assert.equal(data.toString(), metadata.n % 2 === 0 ? `data of ${metadata.n}` : '');
      }
      assert.deepEqual(asked, range(100), 'also for an empty selection');
      await consumer.close();
    });

    test('selections of data in two segments: nothing, all, sub view, strided, unstructured', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const segments = ['abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((text) => Buffer.from(text));
      await produce(topic, 5, () => segments);
      const selections: ((data: DataDescriptor) => DataDescriptor | undefined)[] = [
        () => undefined,
        (data) => data,
        (data) => data.makeSubView(13, 26),
        (data) => data.makeStridedView(13, 3, 4, 2),
        (data) =>
          data.makeUnstructuredView([
            [3, 6],
            [15, 4],
            [27, 8],
          ]),
      ];
      const consumer = topic.consumer({ name: 'c', dataSelector: ({ n }, data) => selections[n]?.(data) });
      assert.deepEqual(
        (await pullAll(consumer, 5)).map(({ data }) => data.toString()),
        ['', segments.join(''), 'nopqrstuvwxyzABCDEFGHIJKLM', 'nopqtuvwzABC', 'defghipqrsBCDEFGHI'],
      );
      await consumer.close();
    });

    test(
      'a producer and a consumer at the same time, the consumer fast or slow, and several producers',
      watchdog,
      async () => {
        for (const [producers, events, pauseMs] of [
          [1, 1000, 0],
          [1, 30, 5],
          [3, 20, 0],
        ] as const) {
          const topic = await newTopic(driver, place);
          const consuming = (async (): Promise<number[]> => {
            const consumer = topic.consumer({ name: 'c' });
            const numbers: number[] = [];
            for (let left = producers * events; left > 0; left -= 1) {
              const event = await consumer.pull();
              numbers.push(event.metadata.n);
              if (pauseMs > 0) await sleep(pauseMs);
            }
            await consumer.close();
            return numbers;
          })();
          await Promise.all(range(producers).map(() => produce(topic, events)));
          const numbers = await consuming;
          if (producers === 1) assert.deepEqual(numbers, range(events));
          for (const n of range(events)) assert.equal(numbers.filter((other) => other === n).length, producers);
        }
      },
    );

    test('nothing is pushed: flush and close are done at once', watchdog, async () => {
      const producer = (await newTopic(driver, place)).producer();
      const flush = producer.flush();
      assert.equal(flush.completed, true);
      assert.equal(flush.wait(), undefined);
      await producer.close();
    });

    test('metadata is any JSON value; text keeps its digits and its order', watchdog, async () => {
      const topic = (await newTopic(driver, place)) as TopicHandle<unknown>;
      const producer = topic.producer();
      const values = [{}, [], [1, 'a', null], 0, -1.5e300, true, null, JSON.stringify('text'), '{"z":1,"a":1.50}'];
      const text = '{"big":18446744073709551615,"z":"\\u00e4\\n","z2":"話"}';
      for (const value of [...values, text]) producer.push(value);
      await producer.close();
      const consumer = topic.consumer({ name: 'c' });
      const found: unknown[] = [];
      const texts: string[] = [];
      await consumer.process(
        (event) => {
          found.push(event.metadata);
          texts.push(event.metadataText);
        },
        { maxEvents: values.length + 1 },
      );
      assert.deepEqual(found.slice(0, 9), [...values.slice(0, 7), 'text', { z: 1, a: 1.5 }]);
      assert.deepEqual(texts.slice(-2), ['{"z":1,"a":1.50}', text]);
      await consumer.close();
    });

    test('more data than a batch can hold is EVENT_TOO_LARGE', watchdog, async () => {
      const producer = (await newTopic(driver, place)).producer();
      const segment = new Uint8Array(2 ** 26);
      const tooLarge = producer.push({ n: 0 }, new Array<Uint8Array>(16).fill(segment));
      await assert.rejects(Promise.resolve(tooLarge), { code: 'EVENT_TOO_LARGE' });
      assert.equal(await producer.push({ n: 1 }), 0n);
      await producer.close();
    });

    test('the batch size of a consumer is the most events that come at once', watchdog, async () => {
      const topic = await newTopic(driver, place);
      await produce(topic, 100);
      const consumer = topic.consumer({ name: 'c', batchSize: 7 });
      let seen = 0;
      for await (const batch of consumer.batches()) {
        assert.ok(batch.length <= 7, `${batch.length}`);
        seen += batch.length;
        if (seen === 100) break;
      }
      await consumer.close();
    });
  });
}
