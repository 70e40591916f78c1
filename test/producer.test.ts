import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { z } from 'zod';
import { type DiasporaError, DiasporaError as ErrorType, type Future, type Producer } from '../lib/index.js';
import type { NativeTopicEntry } from '../lib/native.js';
import type { FakeCore } from './support/fake-core.js';
import { openFake, openFakeTopic } from './support/fake-driver.js';

function texts(core: FakeCore, topic: { uuid: string }, partition: number = 0): string[] {
  return core.stored(topic.uuid, partition).map(({ metadata }) => metadata.toString());
}

test('pushes get their ids, in order, and strings are stored as they are', async () => {
  const { core, topic } = await openFakeTopic();
  const producer = topic.producer();
  const futures = [producer.push({ n: 0 }), producer.push('{ "n" : 1 }'), producer.push([2]), producer.push('3')];
  assert.deepEqual(await Promise.all(futures), [0n, 1n, 2n, 3n]);
  assert.deepEqual(texts(core, topic), ['{"n":0}', '{ "n" : 1 }', '[2]', '3']);
});

test('by default events go round robin; a partition can be asked for', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 3 });
  const producer = topic.producer();
  for (let n = 0; n < 6; n += 1) producer.push(String(n));
  producer.push('6', undefined, { partition: 2 });
  await producer.flush();
  assert.deepEqual(
    [0, 1, 2].map((partition) => texts(core, topic, partition)),
    [
      ['0', '3'],
      ['1', '4'],
      ['2', '5', '6'],
    ],
  );
});

test('bad input rejects that push alone, with its code', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 });
  const seen: DiasporaError[] = [];
  const producer = topic.producer({ onError: (error) => seen.push(error) });
  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  const cases: [ReturnType<Producer['push']>, string][] = [
    [producer.push(undefined), 'INVALID_METADATA'],
    [producer.push(() => 1), 'INVALID_METADATA'],
    [producer.push(cycle), 'INVALID_METADATA'],
    [producer.push({ n: 1n }), 'INVALID_METADATA'],
    [producer.push('not json'), 'INVALID_METADATA'],
    [producer.push(''), 'INVALID_METADATA'],
    [producer.push('{"open":'), 'INVALID_METADATA'],
    [producer.push('{}', undefined, { partition: 2 ** 53 }), 'INVALID_PARTITION'],
    [producer.push('{}', undefined, { partition: -1 }), 'INVALID_PARTITION'],
    [producer.push('{}', undefined, { partition: 0.5 }), 'INVALID_PARTITION'],
    [producer.push('{}', undefined, { partition: '0' as never }), 'INVALID_PARTITION'],
    [producer.push('{}', 'text' as never), 'INVALID_DATA'],
  ];
  const good = producer.push('{}');
  for (const [future, code] of cases) {
    assert.equal(future.completed, true);
    await assert.rejects(Promise.resolve(future), { code, topic: 't' });
    assert.throws(() => future.wait(0), { code });
  }
  assert.equal(await good, 0n);
  assert.equal(core.stored(topic.uuid, 0).length + core.stored(topic.uuid, 1).length, 1);
  assert.equal(producer.errorCount, cases.length);
  assert.deepEqual(
    producer.errors.map(({ code }) => code),
    cases.map(([, code]) => code),
  );
  assert.equal(seen.length, cases.length);
});

test('a rejection that nobody looks at is not an unhandled rejection', async (t) => {
  const { core, topic } = await openFakeTopic();
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', listener);
  t.after(() => process.off('unhandledRejection', listener));
  const producer = topic.producer();
  producer.push(undefined);
  core.paused = true;
  producer.push('{}');
  core.fail('NO_SPACE');
  await sleep(5);
  assert.deepEqual(unhandled, []);
  assert.deepEqual(
    producer.errors.map(({ code }) => code),
    ['INVALID_METADATA', 'NO_SPACE'],
  );
});

test('checkJson parses every text', async () => {
  const { topic } = await openFakeTopic();
  const producer = topic.producer({ checkJson: true });
  await assert.rejects(Promise.resolve(producer.push('{bad}')), { code: 'INVALID_METADATA' });
  assert.equal(await producer.push('{"good": 1}'), 0n);
});

test('wait blocks without the event loop; a time-out gives undefined and can be repeated', async () => {
  const { core, topic } = await openFakeTopic();
  const producer = topic.producer();
  core.paused = true;
  const future = producer.push('{}');
  assert.equal(future.completed, false);
  assert.equal(future.wait(0), undefined);
  assert.equal(future.wait(2), undefined);
  core.acknowledge();
  assert.equal(future.wait(2 ** 40), 0n);
  assert.equal(future.wait(), 0n);
  assert.equal(future.completed, true);
});

test('adaptive: what is open is sealed at the end of the turn while there is room, else when a batch is done', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer({ maxNumBatches: 2 });
  producer.push('0');
  producer.push('1');
  producer.push('2');
  assert.equal(core.sealed.length, 1, 'nothing was in flight: the first goes at once');
  await turn();
  assert.deepEqual(
    core.sealed.map(({ events }) => events.length),
    [1, 2],
  );
  producer.push('3');
  await turn();
  producer.push('4');
  await turn();
  assert.equal(core.sealed.length, 2, 'two in flight: the third grows');
  core.acknowledge(1);
  await turn();
  assert.deepEqual(
    core.sealed.map(({ events }) => events.length),
    [2, 2],
  );
  core.acknowledge();
  await producer.close();
  assert.deepEqual(texts(core, topic), ['0', '1', '2', '3', '4']);
});

test('a fixed batch is sealed when full, after the linger time, and when somebody waits or awaits', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer({ batchSize: 3, lingerMs: 60_000 });
  for (let n = 0; n < 4; n += 1) producer.push(String(n));
  await turn();
  assert.deepEqual(
    core.sealed.map(({ events }) => events.length),
    [3],
  );
  producer.push('4').wait(0);
  assert.deepEqual(
    core.sealed.map(({ events }) => events.length),
    [3, 2],
  );
  const awaited = producer.push('5').then((id) => id);
  producer.push('6');
  await turn();
  await turn();
  assert.deepEqual(
    core.sealed.map(({ events }) => events.length),
    [3, 2, 2],
  );
  core.acknowledge();
  assert.equal(await awaited, 5n);
  core.paused = false;
  const quick = topic.producer({ batchSize: 100, lingerMs: 1 });
  quick.push('7');
  while (core.stored(topic.uuid, 0).length < 8) await turn();
  producer.destroy();
});

test('who waits for or awaits an event sends the batch it is in, and no other', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 });
  core.paused = true;
  const sent = (): string[] => core.sealed.flatMap(({ events }) => events.map(({ metadata }) => metadata.toString()));
  for (const how of ['wait', 'await'] as const) {
    const producer = topic.producer({ batchSize: 2, lingerMs: 60_000 });
    const ask = async (future: Future<bigint>): Promise<void> => {
      if (how === 'wait') future.wait(0);
      else void future.then();
      await turn();
      await turn();
    };
    const full = producer.push('0', undefined, { partition: 0 });
    producer.push('1', undefined, { partition: 0 });
    producer.push('2', undefined, { partition: 0 });
    producer.push('3', undefined, { partition: 1 });
    await ask(full);
    assert.deepEqual(sent(), ['0', '1'], `${how}: it was sent when it was full`);
    await ask(producer.push('4', undefined, { partition: 1 }));
    const open = producer.push('5', undefined, { partition: 1 });
    await ask(open);
    assert.deepEqual(sent(), ['0', '1', '3', '4', '5'], `${how}: partition 0 goes on filling`);
    core.acknowledge();
    assert.equal(await open, how === 'wait' ? 2n : 5n);
    producer.destroy();
  }
});

test('flush seals all, resolves when all before it are acknowledged, and tells failures', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 });
  core.paused = true;
  const producer = topic.producer({ batchSize: 10, lingerMs: 60_000 });
  producer.push('0');
  producer.push('1');
  const first = producer.flush();
  producer.push('2');
  assert.equal(first.completed, false);
  core.acknowledge(2);
  assert.equal(first.wait(10), undefined, 'a flush has no value');
  assert.equal(first.completed, true);
  const failing = producer.push('3');
  const second = producer.flush();
  core.acknowledge(1);
  core.fail('NO_SPACE');
  await assert.rejects(Promise.resolve(second), { code: 'NO_SPACE', topic: 't' });
  await assert.rejects(Promise.resolve(failing), { code: 'NO_SPACE', partition: 1, retryable: true });
  await producer.flush();
  await producer.close();
});

test('a flush of many failed batches says how many and gives one error of each kind', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 });
  core.paused = true;
  const producer = topic.producer({ batchSize: 1 });
  for (let i = 0; i < 6; i++) producer.push(String(i));
  const flush = producer.flush();
  for (const code of ['NO_SPACE', 'NO_SPACE', 'NO_SPACE', 'STORAGE_FAILED', 'NO_SPACE', 'NO_SPACE']) core.fail(code);
  const error = (await Promise.resolve(flush).catch((thrown: unknown) => thrown)) as DiasporaError;
  assert.match(error.message, /NO_SPACE \(the first of 6 failed batches\)/);
  assert.deepEqual(
    error.errors.map(({ code, partition }) => [code, partition]),
    [
      ['NO_SPACE', 1],
      ['STORAGE_FAILED', 1],
    ],
  );
});

test('a batch that failed before the flush is told by the flush, once', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer();
  producer.push('0');
  core.fail('STORAGE_FAILED');
  await turn();
  await assert.rejects(Promise.resolve(producer.flush()), { code: 'STORAGE_FAILED' });
  await producer.close();
});

test('close flushes, is idempotent, and ends the producer', async () => {
  const { core, topic } = await openFakeTopic();
  const producer = topic.producer({ batchSize: 10 });
  const future = producer.push('0');
  const closing = producer.close();
  assert.equal(producer.state, 'closing');
  await assert.rejects(Promise.resolve(producer.push('1')), { code: 'INVALID_STATE' });
  await closing;
  await producer.close();
  producer.destroy();
  assert.equal(producer.state, 'closed');
  assert.equal(await future, 0n);
  assert.deepEqual(
    core.calls.filter((call) => call === 'producerDestroy'),
    ['producerDestroy'],
  );
  await assert.rejects(Promise.resolve(producer.flush()), { code: 'INVALID_STATE' });
});

test('destroy abandons what is pending', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer();
  const future = producer.push('0');
  const flush = producer.flush();
  const closing = producer.close();
  producer.destroy();
  assert.equal(future.completed, true);
  await assert.rejects(Promise.resolve(future), { code: 'ABORTED' });
  await assert.rejects(Promise.resolve(flush), { code: 'ABORTED' });
  await assert.rejects(closing, { code: 'ABORTED' });
  assert.deepEqual(producer.pending, { events: 0, batches: 0, bytes: 0 });
  await turn();
  assert.equal(core.alive, false);
});

test('the event loop is kept alive exactly while something is pending', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer();
  assert.equal(core.alive, false, 'an idle driver and producer do not');
  producer.push('0');
  assert.equal(core.alive, true);
  core.acknowledge();
  await turn();
  assert.equal(core.alive, false);
});

test('the hard limit rejects with QUEUE_FULL; ready waits until there is room', async () => {
  const { core, topic } = await openFakeTopic();
  core.pendingBytesMax = 10;
  core.paused = true;
  const producer = topic.producer();
  const futures = Array.from({ length: 10 }, () => producer.push('{"a":1}'));
  await assert.rejects(Promise.resolve(futures[9]), { code: 'QUEUE_FULL', retryable: true });
  let ready = false;
  const waiting = producer.ready.then(() => {
    ready = true;
  });
  await turn();
  assert.equal(ready, false);
  core.acknowledge();
  await waiting;
  core.paused = false;
  assert.equal(await producer.push('{}'), 2n);
  await producer.ready;
});

test('ready looks at all producers of the driver, and is woken by what others have pending', async () => {
  const { core, topic } = await openFakeTopic({}, { pendingBytesMax: 10 });
  core.pendingBytesMax = 10;
  core.paused = true;
  const [one, other] = [topic.producer(), topic.producer()];
  one.push('123456');
  let isReady = false;
  const waiting = other.ready.then(() => {
    isReady = true;
  });
  for (let n = 0; n < 3; n += 1) await sleep(5);
  assert.equal(isReady, false, 'nothing of its own is pending, but six bytes of ten are');
  core.acknowledge();
  await waiting;
  one.push('1234567890');
  await assert.rejects(Promise.resolve(other.push('1')), { code: 'QUEUE_FULL' });
  const afterRefusal = other.ready;
  assert.equal(core.alive, true);
  one.destroy();
  await afterRefusal;
  assert.equal(await Promise.race([other.push('1'), turn('taken')]), 'taken');
  other.destroy();
  await turn();
  await turn();
  assert.equal(core.alive, false, 'nobody waits any more');
});

test('ready sends the open batches of others that take its room, once nothing is in flight', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 }, { pendingBytesMax: 10 });
  core.paused = true;
  const lingering = topic.producer({ batchSize: 2, lingerMs: 60_000 });
  for (const text of ['12', '34']) lingering.push(text, undefined, { partition: 0 });
  lingering.push('5678', undefined, { partition: 1 });
  const other = topic.producer();
  const waiting = other.ready;
  assert.equal(core.sealed.length, 1, 'what is in flight may be enough');
  lingering.push('9876543', undefined, { partition: 0 });
  core.acknowledge();
  await turn();
  assert.equal(core.sealed.length, 2, 'nothing else would have sent them');
  core.acknowledge();
  await waiting;
  for (const producer of [lingering, other]) await producer.close();
});

test('producers that wait for the same room go on one after the other', async () => {
  const { core, topic } = await openFakeTopic({}, { pendingBytesMax: 20 });
  core.pendingBytesMax = 20;
  core.paused = true;
  const filling = topic.producer();
  filling.push('1234567890');
  const producers = Array.from({ length: 6 }, () => topic.producer());
  const refused: number[] = [];
  let pushed = 0;
  const loops = producers.map(async (producer, who) => {
    for (let n = 0; n < 10; n += 1) {
      await producer.ready;
      if (producer.push('12345').completed) refused.push(who);
      pushed += 1;
    }
  });
  while (pushed < 60) {
    core.acknowledge();
    await turn();
  }
  await Promise.all(loops);
  assert.deepEqual(refused, [], 'each has pushed before the next is let go on');
  for (const producer of producers) producer.destroy();
});

test('ready sends the open batch that takes the room it waits for, and not one that can go on filling', async () => {
  const { core, topic } = await openFakeTopic({}, { pendingBytesMax: 10 });
  core.paused = true;
  const producer = topic.producer({ batchSize: 3, maxNumBatches: 1, lingerMs: 60_000 });
  producer.push('123456');
  const room = producer.ready;
  assert.equal(core.sealed.length, 1, 'nothing else would have sent it');
  core.acknowledge();
  await room;
  core.pendingBytesMax = 4;
  producer.push('1234');
  await assert.rejects(Promise.resolve(producer.push('5')), { code: 'QUEUE_FULL' });
  const afterRefusal = producer.ready;
  assert.equal(core.sealed.length, 1);
  core.acknowledge();
  await afterRefusal;
  core.pendingBytesMax = 100;
  for (let n = 0; n < 7; n += 1) producer.push('1');
  const behind = producer.ready;
  assert.equal(core.sealed.length, 2, 'two batches are in flight: the third has time to fill');
  core.acknowledge(1);
  await behind;
  producer.destroy();
});

test('too many batches in flight: not ready until one is done', async () => {
  const { core, topic } = await openFakeTopic();
  core.paused = true;
  const producer = topic.producer({ batchSize: 1, maxNumBatches: 2 });
  for (let n = 0; n < 3; n += 1) {
    await producer.ready;
    producer.push(String(n));
  }
  producer.push('3');
  let ready = false;
  void producer.ready.then(() => {
    ready = true;
  });
  await turn();
  assert.equal(ready, false);
  core.acknowledge(1);
  await turn();
  await turn();
  assert.equal(ready, true);
  assert.deepEqual(producer.pending, { events: 3, batches: 3, bytes: 3 });
  core.acknowledge();
  await producer.close();
});

test('a validator refuses that event and nothing else', async () => {
  const validator = (metadata: { n: number }): boolean => {
    if (metadata.n === 1) throw new Error('one is not wanted');
    return metadata.n !== 2;
  };
  const { core, topic } = await openFakeTopic({ validator });
  const producer = topic.producer();
  const futures = [0, 1, 2, 3].map((n) => producer.push({ n }));
  await assert.rejects(Promise.resolve(futures[1]), { code: 'INVALID_METADATA', message: /one is not wanted/ });
  await assert.rejects(Promise.resolve(futures[2]), { code: 'INVALID_METADATA' });
  await assert.rejects(Promise.resolve(producer.push('nonsense')), { code: 'INVALID_METADATA' });
  producer.push('{"n": 4}');
  await producer.flush();
  assert.deepEqual(texts(core, topic), ['{"n":0}', '{"n":3}', '{"n": 4}']);
});

test('a Standard Schema types, checks and completes the metadata', async () => {
  const { core, driver } = await openFakeTopic();
  const schema = z.object({ energy: z.number().positive(), unit: z.string().default('GeV') });
  const topic = await driver.openTopic('t', { schema });
  const producer = topic.producer();
  producer.push({ energy: 42 });
  await assert.rejects(Promise.resolve(producer.push({ energy: -1 })), { code: 'INVALID_METADATA', message: /energy/ });
  await producer.flush();
  assert.deepEqual(texts(core, topic), ['{"energy":42,"unit":"GeV"}']);
  const async = await driver.openTopic('t', { schema: z.string().refine(async () => true) });
  await assert.rejects(Promise.resolve(async.producer().push('"x"')), { code: 'INVALID_ARGUMENT' });
});

test('a JSON Schema is stored with the topic and applies to whoever opens it', async () => {
  const { driver } = await openFakeTopic();
  const schema = { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } };
  await driver.createTopic('s', { validator: { type: 'schema', schema } });
  const producer = (await driver.openTopic('s')).producer();
  await assert.rejects(Promise.resolve(producer.push({ n: 'x' })), { code: 'INVALID_METADATA', message: /integer/ });
  assert.equal(await producer.push({ n: 1 }), 0n);
  await assert.rejects(driver.createTopic('u', { validator: { type: 'schema', schema: { type: 'nothing' } } }), {
    code: 'INVALID_ARGUMENT',
  });
  await assert.rejects(driver.openTopic('s', { validator: () => true }), { code: 'INVALID_ARGUMENT' });
});

test('the default selector takes the partition that is asked for, modulo their number, else turns', async () => {
  const { core, topic } = await openFakeTopic({ partitions: 2 });
  const producer = topic.producer();
  for (const partition of [1, 5, 2, undefined, undefined]) {
    producer.push({ partition: partition ?? -1 }, undefined, partition === undefined ? undefined : { partition });
  }
  await producer.flush();
  assert.deepEqual(texts(core, topic, 0), ['{"partition":2}', '{"partition":-1}']);
  assert.deepEqual(texts(core, topic, 1), ['{"partition":1}', '{"partition":5}', '{"partition":-1}']);
});

test('a partition selector decides, and its mistakes are INVALID_PARTITION', async () => {
  const partitionSelector = ({ n }: { n: number }): number => (n < 0 ? 99 : n % 2);
  const { core, topic } = await openFakeTopic({ partitions: 2, partitionSelector });
  const producer = topic.producer();
  for (const n of [0, 1, 2, 3]) producer.push({ n });
  await assert.rejects(Promise.resolve(producer.push({ n: -1 })), { code: 'INVALID_PARTITION' });
  await producer.flush();
  assert.deepEqual(texts(core, topic, 1), ['{"n":1}', '{"n":3}']);
});

test('stages that are functions of another process must be given again', async () => {
  const { core, driver } = await openFakeTopic({ serializer: { serialize: String, deserialize: Number } });
  const [entry] = core.catalogues[0] as NativeTopicEntry[];
  core.catalogues[0] = [{ ...(entry as NativeTopicEntry), uuid: 'f'.repeat(32) }];
  const topic = await driver.openTopic('t');
  assert.throws(() => topic.producer(), { code: 'INVALID_STATE', message: /serializer/ });
  assert.throws(() => topic.consumer({ name: 'c' }), { code: 'INVALID_STATE' });
  const again = await driver.openTopic<number>('t', { serializer: { serialize: String, deserialize: Number } });
  assert.equal(await again.producer().push(7), 0n);
});

test('options are checked', async () => {
  const { topic } = await openFakeTopic();
  const bad: object[] = [
    { batchSize: 0 },
    { maxNumBatches: 0 },
    { ordering: 'x' },
    { lingerMs: -1 },
    { onError: 1 },
    { x: 1 },
  ];
  for (const options of bad)
    assert.throws(() => topic.producer(options), { code: 'INVALID_ARGUMENT' }, JSON.stringify(options));
  assert.throws(() => topic.producer({ name: 'a/b' }), { code: 'INVALID_NAME' });
});

test('a closed driver has closed its producers', async () => {
  const { driver } = await openFake();
  await driver.createTopic('t');
  const topic = await driver.openTopic('t');
  const producer = topic.producer({ batchSize: 10, lingerMs: 60_000 });
  const future = producer.push('0');
  await driver.close();
  assert.equal(await future, 0n);
  assert.equal(producer.state, 'closed');
  assert.throws(
    () => topic.producer(),
    (error) => error instanceof ErrorType && error.code === 'INVALID_STATE',
  );
});
