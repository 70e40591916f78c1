/** What every driver, provider and partition manager must do alike: one suite, run by the files beside it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BatchSize,
  type Consumer,
  type ConsumerStart,
  type DataRange,
  type Driver,
  type EventData,
  fullData,
  type PartitionDescription,
  type Producer,
} from '../../lib/index.js';
import type { Backend, Place } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { groupConformance } from './groups.js';
import { type Numbered, newTopic, pullAll, watchdog, withPlace } from './kit.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export function conformance(backend: Backend): void {
  describe(backend.name, watchdog, () => {
    let place: Place;
    let driver: Driver;
    withPlace(backend, (opened, its) => {
      place = opened;
      driver = its;
    });

    test('an event comes out as it went in', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      const id = await producer.push({ n: 1, text: 'grüße 話題' }, Buffer.from('data'));
      const consumer = topic.consumer({ name: 'c', dataSelector: fullData });
      const event = await consumer.pull();
      assert.deepEqual([id, event.id, event.partition], [0n, 0n, 0]);
      assert.deepEqual(event.metadata, { n: 1, text: 'grüße 話題' });
      assert.equal(event.data.toString(), 'data');
      await Promise.all([producer.close(), consumer.close()]);
    });

    test('order and ids hold per partition, for every batch size', watchdog, async () => {
      for (const batchSize of [1, 2, 1000, BatchSize.adaptive()]) {
        const topic = await newTopic(driver, place, {
          partitions: 3,
          ...(place.manager === 'log' ? { durability: 'os' } : {}),
        });
        const producer = topic.producer({ batchSize });
        const futures = Array.from({ length: 3000 }, (_, n) => producer.push({ n }));
        await producer.flush();
        const ids = await Promise.all(futures);
        assert.deepEqual(
          ids,
          ids.map((_, n) => BigInt(Math.floor(n / 3))),
          `batch size ${batchSize}`,
        );
        const consumer = topic.consumer({ name: 'c' });
        const next = [0, 0, 0];
        for (const { partition, id, metadata } of await pullAll(consumer, 3000)) {
          assert.equal(id, BigInt(next[partition] as number));
          assert.equal(metadata.n, Number(id) * 3 + partition);
          next[partition] = (next[partition] as number) + 1;
        }
        await Promise.all([producer.close(), consumer.close()]);
      }
    });

    test('data of every shape arrives byte by byte', watchdog, async () => {
      const shapes: EventData[] = [];
      for (const size of [0, 1, 7, 4 * KiB, 63 * KiB, 64 * KiB, 64 * KiB + 1, MiB, 5 * MiB + 3]) {
        shapes.push(pattern(shapes.length, size));
      }
      const bytes = pattern(shapes.length, 300 * KiB);
      const cut = (from: number, to: number): Uint8Array => new Uint8Array(bytes.buffer, from, to - from);
      shapes.push([cut(0, 100 * KiB), cut(100 * KiB, 200 * KiB), cut(200 * KiB, 300 * KiB)]);
      shapes.push([
        pattern(shapes.length, 3 * KiB).subarray(0, KiB),
        new Uint8Array(0),
        pattern(shapes.length, 3 * KiB).subarray(KiB),
      ]);
      const wide = pattern(shapes.length, 256 * KiB);
      shapes.push(new DataView(wide.buffer, 0, 256 * KiB));
      shapes.push(new Float64Array(pattern(shapes.length, 128 * KiB).buffer));
      shapes.push(pattern(shapes.length, 128 * KiB).buffer as ArrayBuffer);
      const shared = new SharedArrayBuffer(128 * KiB);
      new Uint8Array(shared).set(pattern(shapes.length, 128 * KiB));
      shapes.push(shared);
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      shapes.forEach((data, n) => void producer.push({ n }, data));
      await producer.flush();
      const consumer = topic.consumer({ name: 'c', dataSelector: fullData });
      for (const { metadata, data, dataSize } of await pullAll(consumer, shapes.length)) {
        assert.equal(data.byteLength, dataSize);
        assert.ok(isPattern(metadata.n, data), `event ${metadata.n}, ${data.byteLength} bytes`);
      }
      await Promise.all([producer.close(), consumer.close()]);
    });

    test('without a selector no data is moved, and its size is known', watchdog, async () => {
      const topic = await newTopic(driver, place);
      await topic.producer().push({ n: 0 }, pattern(0, 100 * KiB));
      const consumer = topic.consumer({ name: 'c' });
      const event = await consumer.pull();
      assert.deepEqual([event.data, event.dataSize], [undefined, 100 * KiB]);
      await consumer.close();
    });

    test('a selector gets the bytes of its view, wherever the allocator wants them', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      const size = 300 * KiB;
      for (let n = 0; n < 6; n += 1) producer.push({ n }, pattern(n, size));
      await producer.flush();
      const consumer = topic.consumer({
        name: 'c',
        dataSelector: ({ n }, whole) =>
          [
            undefined,
            whole,
            whole.makeSubView(1000, 100_000),
            whole.makeStridedView(3, 100, 64, 1000),
            whole.makeUnstructuredView([
              [0, 1],
              [70_000, 200_000],
            ]),
            whole.makeSubView(5000, 200_000).makeStridedView(10, 2, 70_000, 7),
          ][n],
        dataAllocator: (_, descriptor) => {
          const half = descriptor.size >> 1;
          return [new Uint8Array(half), new Uint8Array(descriptor.size - half)];
        },
      });
      const expected: DataRange[][] = [
        [],
        [[0, size]],
        [[1000, 100_000]],
        Array.from({ length: 100 }, (_, i): DataRange => [3 + i * 1064, 64]),
        [
          [0, 1],
          [70_000, 200_000],
        ],
        [
          [5010, 70_000],
          [75_017, 70_000],
        ],
      ];
      for (const { metadata, data } of await pullAll(consumer, 6)) {
        const whole = pattern(metadata.n, size);
        const ranges = expected[metadata.n] as DataRange[];
        const wanted = Buffer.concat(ranges.map(([offset, length]) => whole.subarray(offset, offset + length)));
        assert.equal(Buffer.compare(Buffer.concat(data), wanted), 0, `event ${metadata.n}`);
      }
      await Promise.all([producer.close(), consumer.close()]);
    });

    test('a consumer goes on behind what was acknowledged under its name', watchdog, async () => {
      const topic = await newTopic(driver, place, { partitions: 2 });
      const producer = topic.producer();
      for (let n = 0; n < 40; n += 1) producer.push({ n });
      await producer.flush();
      const first = topic.consumer({ name: 'c' });
      const done = [0, 0];
      for (const event of await pullAll(first, 30)) {
        await event.acknowledge();
        done[event.partition] = (done[event.partition] as number) + 1;
      }
      await first.close();
      const other = place.shared ? await place.open() : driver;
      const second = (await other.openTopic<Numbered>(topic.name)).consumer({ name: 'c' });
      for (const { partition, id } of await pullAll(second, 10)) {
        assert.equal(id, BigInt(done[partition] as number));
        done[partition] = (done[partition] as number) + 1;
      }
      await Promise.all([second.close(), producer.close()]);
      if (place.shared) await other.close();
    });

    test('the consumers of a topic are listed with their positions and lag', watchdog, async () => {
      const topic = await newTopic(driver, place, { partitions: 2 });
      assert.deepEqual(await topic.consumers(), []);
      const producer = topic.producer();
      for (let n = 0; n < 30; n += 1) producer.push({ n }, undefined, { partition: n < 20 ? 0 : 1 });
      await producer.close();
      for (const [name, partition, count] of [
        ['b', 0, 20],
        ['a', 0, 5],
        ['a', 1, 3],
      ] as const) {
        const consumer = topic.consumer({ name, partitions: [partition] });
        await (await pullAll(consumer, count)).at(-1)?.acknowledge();
        await consumer.close();
      }
      const a = {
        name: 'a',
        positions: [
          { partition: 0, nextId: 5n, lag: 15n },
          { partition: 1, nextId: 3n, lag: 7n },
        ],
        lag: 22n,
      };
      assert.deepEqual(await topic.consumers('a'), [a]);
      const b = { name: 'b', positions: [{ partition: 0, nextId: 20n, lag: 0n }], lag: 10n };
      assert.deepEqual(await topic.consumers(), [a, b]);
      assert.deepEqual(await topic.consumers('c'), []);
    });

    test('a consumer begins at the beginning, at an id or at the end', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer({ batchSize: 7 });
      for (let n = 0; n < 50; n += 1) producer.push({ n });
      await producer.flush();
      const atEnd = topic.consumer({ name: 'e', from: 'end' });
      await atEnd.ready;
      assert.equal((await topic.consumer({ name: 'b', from: 'beginning' }).pull()).id, 0n);
      assert.equal((await topic.consumer({ name: 'i', from: 33n }).pull()).metadata.n, 33);
      producer.push({ n: 50 });
      await producer.flush();
      assert.equal((await atEnd.pull()).metadata.n, 50);
      await assert.rejects(Promise.resolve(topic.consumer({ name: 'x', from: 99 }).pull()), {
        code: 'OFFSET_OUT_OF_RANGE',
      });
    });

    test('a consumer that waits gets what is pushed later, by future and by loop', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const consumer = topic.consumer({ name: 'c' });
      const pull = consumer.pull();
      const producer = topic.producer();
      assert.equal(pull.wait(20), undefined);
      producer.push({ n: 0 });
      assert.equal(pull.wait()?.metadata.n, 0);
      const loop = pullAll(consumer, 100);
      for (let n = 1; n <= 100; n += 1) await producer.push({ n });
      assert.deepEqual(
        (await loop).map(({ metadata }) => metadata.n),
        Array.from({ length: 100 }, (_, i) => i + 1),
      );
    });

    test('a loop that never yields sees its acknowledgements', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      for (let n = 0; n < 200; n += 1) assert.equal(producer.push({ n }).wait(), BigInt(n));
      const future = producer.push({ n: 200 });
      while (!future.completed) producer.flush();
      assert.equal(future.wait(0), 200n);
    });

    test('close flushes; what was pushed before it is stored', watchdog, async () => {
      const topic = await newTopic(driver, place, { partitions: 2 });
      const producer = topic.producer({ batchSize: 1000, lingerMs: 60_000 });
      for (let n = 0; n < 10; n += 1) producer.push({ n }, pattern(n, 100 * KiB));
      await producer.close();
      const { partitions } = await topic.describe();
      assert.deepEqual(
        partitions.map(({ firstId, nextId }) => [firstId, nextId]),
        [
          [0n, 5n],
          [0n, 5n],
        ],
      );
    });

    test('bad data and metadata reject that push alone', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      const detached = new Uint8Array(MiB);
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      const bad: [unknown, unknown, string][] = [
        ['{}', detached, 'INVALID_DATA'],
        ['{}', [detached], 'INVALID_DATA'],
        ['{}', 'text', 'INVALID_DATA'],
        ['{}', [1], 'INVALID_DATA'],
        ['{}', {}, 'INVALID_DATA'],
        ['not json', undefined, 'INVALID_METADATA'],
        [{ text: 'x'.repeat(MiB) }, undefined, 'EVENT_TOO_LARGE'],
      ];
      for (const [metadata, data, code] of bad) {
        const future = producer.push(metadata as string, data as EventData);
        await assert.rejects(Promise.resolve(future), { code }, `${typeof metadata} ${typeof data}`);
      }
      assert.equal(await producer.push({ n: 0 }), 0n);
      assert.equal(await producer.push({ n: 1, text: 'x'.repeat(MiB - 100) }), 1n);
      const consumer = topic.consumer({ name: 'c' });
      assert.deepEqual(
        (await pullAll(consumer, 2)).map(({ metadata }) => metadata.n),
        [0, 1],
      );
    });

    test('compressed metadata comes back as it was, whole, in parts and with data', watchdog, async () => {
      for (const compression of ['zstd', { type: 'zstd', level: 19 }] as const) {
        const topic = await newTopic(driver, place, { compression });
        assert.deepEqual(topic.compression, { type: 'zstd', level: compression === 'zstd' ? 1 : 19 });
        const producer = topic.producer({ batchSize: 500 });
        const textOf = (n: number): string => `{"n":${n},"detector":"east","exposure":0.25}`;
        for (let n = 0; n < 2000; n += 1) producer.push(textOf(n), pattern(n, n % 100 === 0 ? 100_000 : n % 50));
        await producer.close();
        for (const [from, batchSize] of [
          [0, 'adaptive'],
          [777, 13],
        ] as const) {
          const options = batchSize === 'adaptive' ? {} : { batchSize };
          const consumer = topic.consumer({ name: 'c', from, dataSelector: fullData, ...options });
          for (const [i, event] of (await pullAll(consumer, 2000 - from)).entries()) {
            assert.equal(event.metadataText, textOf(from + i));
            assert.ok(isPattern(from + i, event.data));
          }
          await consumer.close();
        }
      }
      await assert.rejects(newTopic(driver, place, { compression: 'lz4' as 'zstd' }), { code: 'INVALID_ARGUMENT' });
      await assert.rejects(newTopic(driver, place, { compression: { type: 'zstd', level: 20 } }), {
        code: 'INVALID_ARGUMENT',
      });
      assert.equal((await newTopic(driver, place)).compression, 'none');
    });

    test('topics have one life each', watchdog, async () => {
      const topic = await newTopic(driver, place);
      await assert.rejects(driver.createTopic(topic.name, { manager: place.manager }), { code: 'TOPIC_EXISTS' });
      const producer = topic.producer();
      await producer.push({ n: 0 });
      await driver.deleteTopic(topic.name);
      assert.equal(await driver.topicExists(topic.name), false);
      await assert.rejects(driver.openTopic(topic.name), { code: 'TOPIC_NOT_FOUND' });
      await assert.rejects(Promise.resolve(producer.push({ n: 1 })), { code: /TOPIC_DELETED|TOPIC_NOT_FOUND/ });
      producer.destroy();
      await driver.createTopic(topic.name, { manager: place.manager });
      const again = await driver.openTopic<Numbered>(topic.name);
      assert.notEqual(again.uuid, topic.uuid);
      assert.equal(await again.producer().push({ n: 0 }), 0n);
    });

    test('a complete topic ends every consumer behind its last event, and takes no more', watchdog, async () => {
      const topic = await newTopic(driver, place, { partitions: 2 });
      const producer = topic.producer();
      const early = topic.consumer({ name: 'early', dataSelector: fullData });
      const count = async (consumer: Consumer<Numbered, unknown>): Promise<number> => consumer.process(() => undefined);
      const counted = count(early);
      for (let n = 0; n < 300; n += 1) producer.push({ n }, pattern(n, 2 * KiB));
      await producer.flush();
      await driver.completeTopic(topic.name);
      assert.equal(await counted, 300);
      assert.equal(early.completed, true);
      await assert.rejects(Promise.resolve(producer.push({ n: 300 })), { code: 'TOPIC_COMPLETE', retryable: false });
      const late = topic.consumer({ name: 'late', dataSelector: (_, whole) => whole.makeSubView(0, 10) });
      assert.equal(await count(late), 300);
      await assert.rejects(Promise.resolve(late.pull()), { code: 'TOPIC_COMPLETE' });
      assert.equal((await topic.describe()).state, 'complete');
      await driver.deleteTopic(topic.name);
      await driver.createTopic(topic.name, { manager: place.manager });
      assert.equal(await (await driver.openTopic<Numbered>(topic.name)).producer().push({ n: 0 }), 0n);
    });

    test(
      'retention by bytes: a consumer that falls behind is told, or goes on at the oldest event',
      watchdog,
      async () => {
        const topic = await newTopic(driver, place, { retention: { bytes: 256 * KiB } });
        assert.deepEqual(topic.retention, { bytes: 256 * KiB });
        const producer = topic.producer({ batchSize: 1 });
        await producer.push({ n: 0 });
        const first = topic.consumer({ name: 'slow' });
        await (await first.pull()).acknowledge();
        await first.close();
        for (let n = 1; n < 300; n += 1) await producer.push({ n }, pattern(n, 4 * KiB));
        // An acknowledgement goes the way of the events: what is to be dropped has been when it is answered.
        await (await topic.consumer({ name: 'last', from: 299 }).pull()).acknowledge();
        const kept = (await topic.describe()).partitions[0]?.firstId as bigint;
        assert.ok(kept > 200n, `${kept}`);
        for (const from of ['cursor', 7n] as const) {
          const told = topic.consumer({ name: 'slow', from });
          await assert.rejects(told.ready, {
            code: 'OFFSET_OUT_OF_RANGE',
            message: new RegExp(`the oldest is ${kept}`),
          });
          await assert.rejects(Promise.resolve(told.pull()), { code: 'OFFSET_OUT_OF_RANGE' });
          await told.close();
          const going = topic.consumer({ name: 'slow', from, onOffsetOutOfRange: 'oldest', dataSelector: fullData });
          const events = await pullAll(going, 300 - Number(kept));
          assert.deepEqual(
            events.map(({ id }) => id),
            Array.from({ length: events.length }, (_, i) => kept + BigInt(i)),
          );
          for (const { metadata, data } of events) assert.ok(isPattern(metadata.n, data));
          await going.close();
        }
        const beginning = topic.consumer({ name: 'new', from: 'beginning' });
        assert.equal((await beginning.pull()).id, kept);
        assert.equal((await topic.consumers('slow'))[0]?.lag, 300n - kept);
      },
    );

    test('retention by age: events go without any traffic', watchdog, async () => {
      const topic = await newTopic(driver, place, { retention: { ageMs: 100 } });
      const producer = topic.producer();
      for (let n = 0; n < 10; n += 1) producer.push({ n });
      await producer.flush();
      for (;;) {
        const { firstId, nextId } = (await topic.describe()).partitions[0] as PartitionDescription;
        if (firstId === nextId) break;
        await sleep(5);
      }
      assert.equal(await producer.push({ n: 10 }), 10n);
    });

    test(
      'a consumer begins at a time: the first event stored then or later, the end when there is none',
      watchdog,
      async () => {
        const topic = await newTopic(driver, place, { partitions: 2 });
        const producer = topic.producer();
        const pushSome = async (begin: number): Promise<void> => {
          for (let n = begin; n < begin + 20; n += 1) producer.push({ n });
          await producer.flush();
          await sleep(5);
        };
        await pushSome(0);
        const middle = new Date();
        await sleep(5);
        await pushSome(20);
        const numbers = async (from: ConsumerStart | ConsumerStart[], count: number): Promise<number[]> => {
          const consumer = topic.consumer({ name: 'c', from });
          const seen = (await pullAll(consumer, count)).map(({ metadata }) => metadata.n);
          await consumer.close();
          return seen.sort((a, b) => a - b);
        };
        const range = (begin: number, end: number): number[] =>
          Array.from({ length: end - begin }, (_, i) => begin + i);
        assert.deepEqual(await numbers({ timestamp: middle }, 20), range(20, 40));
        assert.deepEqual(await numbers({ timestamp: 0 }, 40), range(0, 40));
        assert.equal(
          (await numbers([{ timestamp: middle.getTime() }, 'beginning'], 30)).filter((n) => n < 20).length,
          10,
        );
        const late = topic.consumer({ name: 'late', from: { timestamp: Date.now() + 1_000_000 } });
        await late.ready;
        await producer.push({ n: 40 });
        assert.equal((await late.pull()).metadata.n, 40);
      },
    );

    test('added partitions are there for who opens the topic again; open handles keep theirs', watchdog, async () => {
      const topic = await newTopic(driver, place);
      const producer = topic.producer();
      await producer.push({ n: 0 });
      await driver.addPartitions(topic.name, 3);
      await producer.push({ n: 1 });
      assert.equal(topic.partitions, 1);
      assert.deepEqual(
        (await topic.describe()).partitions.map(({ nextId }) => nextId),
        [2n, 0n, 0n],
      );
      const again = await driver.openTopic<Numbered>(topic.name);
      assert.equal(again.partitions, 3);
      const wide = again.producer();
      for (const partition of [0, 1, 2])
        assert.equal(await wide.push({ n: 2 }, undefined, { partition }), partition === 0 ? 2n : 0n);
      const events = await pullAll(again.consumer({ name: 'c' }), 5);
      assert.deepEqual(events.map(({ partition }) => partition).sort(), [0, 0, 0, 1, 2]);
      await assert.rejects(driver.addPartitions(topic.name, 3), { code: 'INVALID_ARGUMENT' });
      await driver.completeTopic(topic.name);
      await assert.rejects(driver.addPartitions(topic.name, 4), { code: 'TOPIC_COMPLETE' });
      assert.equal(await again.consumer({ name: 'd' }).process(() => undefined), 5);
    });

    test('several producers and consumers of one driver do not disturb each other', watchdog, async () => {
      const topic = await newTopic(driver, place, { partitions: 2 });
      const producers = Array.from({ length: 4 }, () => topic.producer());
      const consumers = Array.from({ length: 3 }, (_, i) => topic.consumer({ name: `c${i}`, dataSelector: fullData }));
      const loops = consumers.map((consumer) => pullAll(consumer, 800));
      for (let n = 0; n < 200; n += 1) {
        producers.forEach(
          (producer, who) => void producer.push({ n, who }, pattern(n, (n % 5) * 20 * KiB), { partition: who % 2 }),
        );
        if (n % 20 === 0) await Promise.all(producers.map((producer) => producer.ready));
      }
      await Promise.all(producers.map((producer) => producer.close()));
      for (const events of await Promise.all(loops)) {
        const next = [0, 0, 0, 0];
        for (const { metadata, data } of events) {
          const who = metadata['who'] as number;
          assert.equal(metadata.n, next[who]);
          next[who] = metadata.n + 1;
          assert.ok(isPattern(metadata.n, data));
        }
        assert.deepEqual(next, [200, 200, 200, 200]);
      }
    });

    test('nothing is refused to producers of one driver that await ready before each push', watchdog, async () => {
      const small = await place.open({ pendingBytesMax: 2 * MiB });
      const topic = await newTopic(small, place, { partitions: 2 });
      const producers = Array.from({ length: 8 }, (_, who) =>
        topic.producer(who < 4 ? { maxNumBatches: 16 } : { batchSize: 4, lingerMs: 60_000, maxNumBatches: 16 }),
      );
      const data = pattern(0, 100 * KiB);
      const push = async (producer: Producer): Promise<void> => {
        for (let n = 0; n < 50; n += 1) {
          await producer.ready;
          producer.push({ n }, data);
        }
      };
      await Promise.all(producers.map(push));
      await Promise.all(producers.map((producer) => producer.close()));
      const { partitions } = await topic.describe();
      assert.equal(
        partitions.reduce((sum, { nextId }) => sum + nextId, 0n),
        400n,
      );
      await small.close();
    });

    groupConformance(() => ({ driver, place }));
  });
}
