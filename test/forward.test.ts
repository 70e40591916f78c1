import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Driver, forward, fullData, type StageOptions, type TopicHandle } from '../lib/index.js';
import { isPattern, pattern } from './support/pattern.js';
import { temporaryDirectory } from './support/temporary.js';

/** A topic each in two embedded servers. */
async function twoTopics(
  t: TestContext,
  source: { partitions?: number } & StageOptions<never>,
  target: { partitions?: number } & StageOptions<never>,
): Promise<{ source: TopicHandle; target: TopicHandle }> {
  const directory = await temporaryDirectory(t);
  const open = async (name: string, options: object): Promise<TopicHandle> => {
    const driver = await Driver.open({ data: join(directory, name) });
    t.after(() => driver.destroy());
    await driver.createTopic(name, { durability: 'os', ...options });
    return driver.openTopic(name);
  };
  return { source: await open('source', source), target: await open('target', target) };
}

test('stopped and started again while events come: each is there once, in order, with its data', async (t) => {
  const { source, target } = await twoTopics(t, { partitions: 2 }, { partitions: 3 });
  const producer = source.producer();
  const total = 600;
  const producing = (async (): Promise<void> => {
    for (let n = 0; n < total; n += 1) {
      producer.push({ n }, pattern(n, n % 3 === 0 ? 70_000 : 10), { partition: n % 2 });
      if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await producer.close();
  })();
  let forwarded = 0;
  for (let round = 0; round < 6; round += 1) {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), 5 + 10 * round);
    forwarded += await forward(source, target, { keepPartition: true, signal: ending.signal });
  }
  await producing;
  forwarded += await forward(source, target, { keepPartition: true, idleTimeoutMs: 200 });
  assert.equal(forwarded, total);
  const { partitions } = await target.describe();
  assert.deepEqual(
    partitions.map(({ nextId }) => Number(nextId)),
    [total / 2, total / 2, 0],
  );
  const consumer = target.consumer({ name: 'c', dataSelector: fullData });
  const next = [0, 1];
  for (let left = total; left > 0; left -= 1) {
    const { partition, metadata, data } = await consumer.pull();
    const { n } = metadata as { n: number };
    assert.equal(n, next[partition]);
    assert.ok(isPattern(n, data));
    next[partition] = n + 2;
  }
});

test('forwards of one name share the partitions while events come: each event is there once', async (t) => {
  const { source, target } = await twoTopics(t, { partitions: 4 }, { partitions: 4 });
  const producer = source.producer();
  const total = 2000;
  const counts: Promise<number>[] = [];
  const ending = new AbortController();
  const early = new AbortController();
  const begin = (signal: AbortSignal): unknown => counts.push(forward(source, target, { keepPartition: true, signal }));
  begin(ending.signal);
  for (let n = 0; n < total; n += 1) {
    producer.push({ n }, undefined, { partition: n % 4 });
    if (n === 500) begin(early.signal);
    if (n === 1000) begin(ending.signal);
    if (n === 1500) early.abort();
    if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await producer.close();
  const stored = async (): Promise<number> =>
    (await target.describe()).partitions.reduce((sum, { nextId }) => sum + Number(nextId), 0);
  while ((await stored()) < total) await new Promise((resolve) => setTimeout(resolve, 5));
  ending.abort();
  const each = await Promise.all(counts);
  assert.equal(
    each.reduce((sum, count) => sum + count),
    total,
  );
  assert.ok(each.every((count) => count > 0));
  const consumer = target.consumer({ name: 'c' });
  const next = [0, 1, 2, 3];
  for (let left = total; left > 0; left -= 1) {
    const { partition, metadata } = await consumer.pull();
    assert.equal((metadata as { n: number }).n, next[partition]);
    next[partition] = (next[partition] as number) + 4;
  }
});

test('text goes over byte for byte, other forms are written anew; data only when asked for', async (t) => {
  const { source, target } = await twoTopics(t, {}, { serializer: 'msgpack' });
  const producer = source.producer();
  await producer.push('{"big": 1.50, "z": 1, "a": "x"}', pattern(1, 100));
  await producer.push('"text"');
  assert.equal(await forward(source, target, { data: false, idleTimeoutMs: 100 }), 2);
  const consumer = target.consumer({ name: 'c', dataSelector: fullData });
  const first = await consumer.pull();
  assert.deepEqual(first.metadata, { big: 1.5, z: 1, a: 'x' });
  assert.equal(first.dataSize, 0);
  assert.equal((await consumer.pull()).metadata, 'text');
  const { source: packed, target: text } = await twoTopics(t, { serializer: 'msgpack' }, {});
  await packed.producer().push({ s: 'ä', n: [1, null] });
  await packed.producer().push('"text"');
  assert.equal(await forward(packed, text, { idleTimeoutMs: 100 }), 2);
  const back = text.consumer({ name: 'c' });
  assert.equal((await back.pull()).metadataText, '{"s":"ä","n":[1,null]}');
  assert.equal((await back.pull()).metadataText, '"text"');
});

test('only selected data goes along', async (t) => {
  const { source, target } = await twoTopics(t, {}, {});
  await source.producer().push({ from: 2 }, Buffer.from('0123456789'));
  const dataSelector = (metadata: unknown, descriptor: Parameters<typeof fullData>[1]): typeof descriptor =>
    descriptor.makeSubView((metadata as { from: number }).from, 3);
  assert.equal(await forward(source, target, { dataSelector, idleTimeoutMs: 100 }), 1);
  const event = await target.consumer({ name: 'c', dataSelector: fullData }).pull();
  assert.equal(event.data.toString(), '234');
});

test('an event that is refused, or cannot be read, ends it there; what came before is acknowledged, nothing is twice', async (t) => {
  const validator = { type: 'eventbridge', schema: { ok: [true] } } as const;
  const { source, target } = await twoTopics(t, {}, { validator });
  const producer = source.producer();
  for (let n = 0; n < 10; n += 1) producer.push({ ok: n !== 5, n }, new Uint8Array(10));
  await producer.flush();
  const dataSelector = (metadata: unknown, descriptor: Parameters<typeof fullData>[1]): typeof descriptor => {
    if ((metadata as { n: number }).n === 3) throw new Error('unreadable');
    return descriptor;
  };
  const stored = async (): Promise<bigint | undefined> => (await target.describe()).partitions[0]?.nextId;
  for (let round = 0; round < 2; round += 1) {
    await assert.rejects(forward(source, target, { dataSelector, idleTimeoutMs: 100 }), /unreadable/);
    assert.equal(await stored(), 3n);
  }
  for (let round = 0; round < 2; round += 1) {
    await assert.rejects(forward(source, target, { idleTimeoutMs: 100 }), { code: 'INVALID_METADATA' });
    assert.equal(await stored(), 5n);
  }
  const [consumer] = await source.consumers();
  assert.equal(consumer?.positions[0]?.nextId, 5n);
});

test('a target with little room for what is pending gets everything once', async (t) => {
  const directory = await temporaryDirectory(t);
  const driver = await Driver.open({ data: join(directory, 'small'), pendingBytesMax: 2 ** 20 });
  t.after(() => driver.destroy());
  await driver.createTopic('small', { durability: 'os' });
  const { source } = await twoTopics(t, {}, {});
  const producer = source.producer();
  for (let n = 0; n < 100; n += 1) producer.push({ n }, pattern(n, 60_000));
  await producer.flush();
  const small = await driver.openTopic('small');
  assert.equal(await forward(source, small, { idleTimeoutMs: 200 }), 100);
  assert.equal((await small.describe()).partitions[0]?.nextId, 100n);
});

test('targets keep their places apart, and keepPartition needs a target that heeds it', async (t) => {
  const { source, target } = await twoTopics(t, {}, {});
  const { target: other } = await twoTopics(t, {}, {});
  await source.producer().push({});
  assert.equal(await forward(source, target, { idleTimeoutMs: 100 }), 1);
  assert.equal(await forward(source, other, { idleTimeoutMs: 100 }), 1);
  const { target: hashed } = await twoTopics(t, {}, { partitionSelector: { type: 'hash', path: 'n' } });
  await assert.rejects(forward(source, hashed, { keepPartition: true }), { code: 'INVALID_ARGUMENT' });
  const wide = await twoTopics(t, { partitions: 2 }, {});
  await assert.rejects(forward(wide.source, wide.target, { keepPartition: true }), { code: 'INVALID_ARGUMENT' });
});
