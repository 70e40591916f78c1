import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import {
  type Consumer,
  type DataDescriptor,
  type DiasporaError,
  type Event,
  fullData,
  StopProcessing,
} from '../lib/index.js';
import { CompletionKind } from '../lib/native.js';
import { openFakeTopic } from './support/fake-driver.js';

interface Numbered {
  readonly n: number;
}

/** A topic with `count` events { n } in each partition; data of event n: n bytes of value n. */
async function openFilled(count: number, partitions: number = 1) {
  const { core, driver, topic } = await openFakeTopic<Numbered>({ partitions });
  const producer = topic.producer();
  for (let partition = 0; partition < partitions; partition += 1) {
    for (let n = 0; n < count; n += 1) producer.push({ n }, Buffer.alloc(n, n), { partition });
  }
  await producer.close();
  core.calls.length = 0;
  return { core, driver, topic };
}

const fullDataOf = (_: unknown, whole: DataDescriptor): DataDescriptor => whole;

/** Keeps the thread from everything else. */
function beBusy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

async function take<D>(consumer: Consumer<Numbered, D>, count: number): Promise<number[]> {
  const numbers: number[] = [];
  for (let i = 0; i < count; i += 1) numbers.push((await consumer.pull()).metadata.n);
  return numbers;
}

test('pulls give events in order, with id, partition, metadata and no data', async () => {
  const { topic } = await openFilled(6);
  const consumer = topic.consumer({ name: 'c' });
  const event: Event<Numbered, undefined> = await consumer.pull();
  assert.deepEqual([event.id, event.partition, event.topic, event.metadata, event.dataSize], [0n, 0, 't', { n: 0 }, 0]);
  assert.equal(event.data, undefined);
  assert.equal(event.metadataText, '{"n":0}');
  assert.deepEqual(await take(consumer, 5), [1, 2, 3, 4, 5]);
});

test('several pulls ahead are served in order, also by wait without the event loop', async () => {
  const { topic } = await openFakeTopic<Numbered>();
  const consumer = topic.consumer({ name: 'c' });
  const pulls = [consumer.pull(), consumer.pull(), consumer.pull()];
  assert.equal(pulls[0]?.wait(1), undefined);
  const producer = topic.producer();
  for (let n = 0; n < 3; n += 1) producer.push({ n });
  producer.flush().wait();
  assert.deepEqual(
    pulls.map((pull) => pull.wait()?.metadata.n),
    [0, 1, 2],
  );
  assert.equal(consumer.tryPull(), undefined);
  producer.push({ n: 3 });
  assert.equal(consumer.tryPull()?.metadata.n, 3);
});

test('fullData gives views of the delivery; text that is not ASCII is read right', async () => {
  const { topic } = await openFakeTopic<{ text: string }>();
  const producer = topic.producer();
  const words = ['plain', 'grüße', '話題 🙂', ''];
  for (const text of words) producer.push({ text }, Buffer.from(text));
  await producer.flush();
  for (const dataSelector of [fullData, 'full'] as const) {
    const consumer = topic.consumer({ name: 'c', dataSelector });
    for (const text of words) {
      const event = await consumer.pull();
      assert.equal(event.metadata.text, text);
      assert.equal(event.data.toString(), text);
      assert.equal(event.dataSize, Buffer.byteLength(text));
    }
  }
});

test('iteration hands out every event; leaving the loop loses none', async () => {
  const { topic } = await openFilled(20);
  const consumer = topic.consumer({ name: 'c' });
  const seen: number[] = [];
  for await (const { metadata } of consumer) {
    seen.push(metadata.n);
    if (seen.length === 6) break;
  }
  seen.push((await consumer.pull()).metadata.n);
  for await (const batch of consumer.batches()) {
    assert.equal(batch.length, batch.events.length);
    for (const event of batch) seen.push(event.metadata.n);
    if (seen.length === 20) break;
  }
  assert.deepEqual(seen, [...Array(20).keys()]);
});

test('idleTimeoutMs ends an iteration, a signal aborts it, return() ends a waiting one; no event is lost', async () => {
  const { topic } = await openFilled(3);
  const consumer = topic.consumer({ name: 'c' });
  const seen: number[] = [];
  for await (const event of consumer.events({ idleTimeoutMs: 5 })) seen.push(event.metadata.n);
  assert.deepEqual(seen, [0, 1, 2]);
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error('enough')), 2);
  await assert.rejects(
    async () => {
      for await (const event of consumer.events({ signal: abort.signal })) assert.fail(String(event.id));
    },
    (error: DiasporaError) => error.code === 'ABORTED' && (error.cause as Error).message === 'enough',
  );
  const iterator = consumer.events();
  const pending = iterator.next();
  const another = iterator.next();
  await turn();
  await iterator.return?.();
  for (const next of [pending, another]) assert.deepEqual(await next, { value: undefined, done: true });
  await topic.producer().push({ n: 3 });
  assert.deepEqual(await take(consumer, 1), [3]);
});

test('what came while the thread was busy is no idle time', async () => {
  const { core, topic } = await openFakeTopic<Numbered>();
  const iterator = topic.consumer({ name: 'c' }).events({ idleTimeoutMs: 5 });
  const next = iterator.next();
  await turn();
  core.stored(topic.uuid, 0).push({ metadata: Buffer.from('{"n":0}'), data: Buffer.alloc(0) });
  core.complete(CompletionKind.Delivery, core.consumerIds()[0] as number, 0, 0, 0, undefined);
  beBusy(10);
  assert.equal((await next).value?.metadata.n, 0);
});

test('timers run while the items of an iteration take long', async () => {
  const { topic } = await openFilled(10);
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 1);
  await topic.consumer({ name: 'c' }).process(() => beBusy(6), { maxEvents: 10 });
  clearInterval(timer);
  assert.ok(turns >= 2, `${turns} turns in 10 long events`);
});

test('timers run while an iteration never has to wait', async () => {
  const { core, topic } = await openFilled(2000);
  core.deliveryEvents = 1000;
  const consumer = topic.consumer({ name: 'c' });
  let turns = 0;
  const count = (): void => {
    turns += 1;
    immediate = setImmediate(count);
  };
  let immediate = setImmediate(count);
  let events = 0;
  for await (const _ of consumer) {
    events += 1;
    if (events === 2000) break;
  }
  clearImmediate(immediate);
  assert.ok(turns >= 3, `${turns} turns in 2000 events`);
});

test('process counts, stops, and hands on what the function throws', async () => {
  const { topic } = await openFilled(10);
  const consumer = topic.consumer({ name: 'c' });
  const seen: number[] = [];
  const see = (event: Event<Numbered, undefined>): void => void seen.push(event.metadata.n);
  assert.equal(await consumer.process(see, { maxEvents: 3 }), 3);
  const stop = async ({ metadata }: Event<Numbered, undefined>): Promise<void> => {
    if (metadata.n === 5) throw new StopProcessing();
  };
  assert.equal(await consumer.process(stop), 3);
  await assert.rejects(
    consumer.process(() => assert.fail('mine')),
    { message: 'mine' },
  );
  assert.equal(await consumer.process(see, { timeoutMs: 5 }), 3);
  assert.deepEqual(seen, [0, 1, 2, 7, 8, 9]);
  assert.equal(await consumer.process(see, { maxEvents: 0 }), 0);
});

test('acknowledgements are cumulative and coalesced; a new consumer of the name begins behind them', async () => {
  const { core, topic } = await openFilled(10);
  const consumer = topic.consumer({ name: 'c' });
  const events: Event<Numbered, undefined>[] = [];
  for (let n = 0; n < 6; n += 1) events.push(await consumer.pull());
  await Promise.all(events.map((event) => event.acknowledge()));
  const sent = core.calls.filter((call) => call.startsWith('acknowledge '));
  assert.deepEqual(sent, ['acknowledge 0:0', 'acknowledge 0:5']);
  await events[2]?.acknowledge();
  await consumer.close();
  assert.equal(core.calls.filter((call) => call.startsWith('acknowledge ')).length, 2, 'an older one sends nothing');
  assert.deepEqual(await take(topic.consumer({ name: 'c' }), 1), [6]);
  assert.deepEqual(await take(topic.consumer({ name: 'other' }), 1), [0]);
  await assert.rejects(Promise.resolve(events[5]?.acknowledge()), { code: 'INVALID_STATE' });
});

test('a consumer begins where it is told', async () => {
  const { topic } = await openFilled(10, 2);
  assert.deepEqual(await take(topic.consumer({ name: 'c', from: 7n, partitions: [1] }), 2), [7, 8]);
  assert.deepEqual(await take(topic.consumer({ name: 'c', from: 'beginning', partitions: [0] }), 1), [0]);
  for (const timestamp of [-1, 0.5, new Date('never'), '2026', undefined, 2 ** 43]) {
    assert.throws(() => topic.consumer({ name: 'c', from: { timestamp } as never }), { code: 'INVALID_ARGUMENT' });
  }
  assert.throws(() => topic.consumer({ name: 'c', from: { time: 1 } as never }), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => topic.consumer({ name: 'c', onOffsetOutOfRange: 'latest' as never }), {
    code: 'INVALID_ARGUMENT',
  });
  const mixed = topic.consumer({ name: 'c', from: ['end', 9], partitions: [1, 0] });
  const event = await mixed.pull();
  assert.deepEqual([event.partition, event.id], [0, 9n]);
});

test('behind the last event of a complete topic iterations end, pulls reject, and waiting ones too', async () => {
  const { core, topic } = await openFilled(3, 2);
  const consumer = topic.consumer({ name: 'c' });
  const end = (of: Consumer<Numbered, unknown>, partition: number): void => {
    core.complete(CompletionKind.PartitionEnd, core.consumerIds().at(-1) as number, partition, 0, 0, undefined);
    assert.equal(of.completed, false);
  };
  end(consumer, 0);
  end(consumer, 1);
  const seen: number[] = [];
  assert.equal(await consumer.process(({ metadata }) => void seen.push(metadata.n)), 6);
  assert.deepEqual(seen, [0, 1, 2, 0, 1, 2]);
  assert.equal(consumer.completed, true);
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'TOPIC_COMPLETE', retryable: false, topic: 't' });
  assert.throws(() => consumer.tryPull(), { code: 'TOPIC_COMPLETE' });
  for await (const batch of consumer.batches()) assert.fail(`${batch.length}`);
  await consumer.close();
  assert.equal(consumer.completed, true);

  const waiting = topic.consumer({ name: 'd', partitions: [1], from: 'end' });
  const iteration = waiting.events().next();
  const pull = waiting.pull();
  await turn();
  core.complete(CompletionKind.PartitionEnd, core.consumerIds().at(-1) as number, 1, 0, 0, undefined);
  assert.deepEqual(await iteration, { value: undefined, done: true });
  await assert.rejects(Promise.resolve(pull), { code: 'TOPIC_COMPLETE' });
});

test('the end waits for events that a selector is fetching; a partition that failed is told first', async () => {
  const { core, topic } = await openFilled(3, 2);
  const consumer = topic.consumer({ name: 'c', partitions: [0], dataSelector: (_, whole) => whole });
  const first = consumer.pull();
  core.complete(CompletionKind.PartitionEnd, core.consumerIds().at(-1) as number, 0, 0, 0, undefined);
  const rest = consumer.batches();
  assert.equal((await first).metadata.n, 0);
  const seen: number[] = [];
  for await (const batch of rest) for (const { metadata, data } of batch) seen.push(metadata.n, data.length);
  assert.deepEqual(seen, [1, 1, 2, 2]);

  const both = topic.consumer({ name: 'd', from: 'end' });
  const id = core.consumerIds().at(-1) as number;
  core.complete(CompletionKind.ConsumerError, id, 0, 0, 0, { code: 'CORRUPT_LOG', message: 'x' });
  core.complete(CompletionKind.PartitionEnd, id, 1, 0, 0, undefined);
  core.complete(CompletionKind.ConsumerError, id, 1, 0, 0, { code: 'TOPIC_DELETED', message: 'of no interest' });
  await assert.rejects(
    both.process(() => assert.fail('no event')),
    { code: 'CORRUPT_LOG', partition: 0 },
  );
  assert.equal(await both.process(() => assert.fail('no event')), 0);
});

test('a selector moves only what it chooses, in order; an allocator says where to', async () => {
  const { topic } = await openFilled(10);
  const even = topic.consumer({
    name: 'c',
    dataSelector: ({ n }, whole) => (n % 2 === 0 ? whole.makeSubView(0, n / 2) : undefined),
  });
  for (let n = 0; n < 10; n += 1) {
    const event = await even.pull();
    assert.deepEqual([event.metadata.n, event.data], [n, Buffer.alloc(n % 2 === 0 ? n / 2 : 0, n)]);
  }
  const halves = topic.consumer({
    name: 'd',
    dataSelector: fullData,
    dataAllocator: (_, { size }) => [new Uint8Array(Math.floor(size / 2)), new Uint8Array(Math.ceil(size / 2))],
  });
  for (let n = 0; n < 10; n += 1) {
    const { data } = await halves.pull();
    assert.deepEqual(Buffer.concat(data), Buffer.alloc(n, n));
  }
});

test('a selector or allocator that fails spoils that event alone, and the error says which', async () => {
  const { topic } = await openFilled(6);
  const consumer = topic.consumer({
    name: 'c',
    dataSelector: ({ n }, whole) => {
      if (n === 1) throw new Error('no');
      return n === 2 ? ({} as DataDescriptor) : whole;
    },
    dataAllocator: ({ n }, { size }) => new Uint8Array(n === 3 ? size + 1 : size),
  });
  assert.equal((await consumer.pull()).id, 0n);
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'INVALID_DESCRIPTOR', eventId: 1n, partition: 0 });
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'INVALID_DESCRIPTOR', eventId: 2n });
  await assert.rejects(
    async () => {
      for await (const event of consumer) assert.fail(String(event.id));
    },
    { code: 'INVALID_DATA', eventId: 3n, topic: 't' },
  );
  const rest: bigint[] = [];
  for await (const event of consumer.events({ idleTimeoutMs: 5 })) rest.push(event.id);
  assert.deepEqual(rest, [4n, 5n]);
});

test('a selector or allocator that is asynchronous by mistake spoils its event and nothing else', async () => {
  const { topic } = await openFilled(2);
  const fails = async (): Promise<never> => {
    throw new Error('of no interest');
  };
  const selecting = topic.consumer({ name: 'a', dataSelector: fails as never });
  await assert.rejects(Promise.resolve(selecting.pull()), { code: 'INVALID_DESCRIPTOR', eventId: 0n });
  for (const dataAllocator of [fails, () => null]) {
    const consumer = topic.consumer({ name: 'b', dataSelector: fullDataOf, dataAllocator: dataAllocator as never });
    await assert.rejects(Promise.resolve(consumer.pull()), { code: 'INVALID_DATA', eventId: 0n });
    consumer.destroy();
  }
  await turn();
});

test('a fetch that fails spoils that event alone', async () => {
  const { core, topic } = await openFilled(4);
  const consumer = topic.consumer({ name: 'c', dataSelector: (_, whole) => whole.makeSubView(0, 1) });
  core.refusals.set('fetch', { code: 'CORRUPT_DATA', message: 'bad' });
  assert.equal((await consumer.pull()).id, 0n);
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'CORRUPT_DATA', eventId: 1n });
  assert.equal((await consumer.pull()).id, 2n);
});

test('metadata that is not JSON is an error of reading it, with its position', async () => {
  const { core, topic } = await openFakeTopic();
  core.stored(topic.uuid, 0).push({ metadata: Buffer.from('{bad'), data: Buffer.alloc(0) });
  const event = await topic.consumer({ name: 'c' }).pull();
  assert.throws(() => event.metadata, { code: 'INVALID_METADATA', partition: 0, eventId: 0n, topic: 't' });
  assert.equal(event.metadataText, '{bad');
});

test('a failed partition is told once, behind its events; the others go on', async () => {
  const { core, topic } = await openFilled(2, 2);
  const consumer = topic.consumer({ name: 'c' });
  await take(consumer, 4);
  const target = core.consumerIds()[0] as number;
  core.complete(CompletionKind.ConsumerError, target, 1, 0, 0, { code: 'CORRUPT_DATA', message: 'x' });
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'CORRUPT_DATA', partition: 1, topic: 't' });
  await topic.producer().push({ n: 2 }, undefined, { partition: 0 });
  assert.deepEqual(await take(consumer, 1), [2]);
  core.complete(CompletionKind.ConsumerError, target, -1, 0, 0, { code: 'TOPIC_DELETED', message: 'x' });
  for (let i = 0; i < 2; i += 1) await assert.rejects(Promise.resolve(consumer.pull()), { code: 'TOPIC_DELETED' });
});

test('a member takes nothing between a revocation and its notice, and does not take that for the end', async () => {
  const { core, topic } = await openFilled(2, 2);
  const consumer = topic.consumer({ name: 'c' });
  await turn();
  const id = core.consumerIds()[0] as number;
  core.heldBack = 1;
  const pull = consumer.pull();
  for (const partition of [0, 1]) core.complete(CompletionKind.PartitionEnd, id, partition, 0, 0, undefined);
  core.complete(CompletionKind.Assignment, id, 0, 0, 0, { granted: [], revoked: [0] });
  core.complete(CompletionKind.Assignment, id, 0, 0, 0, { granted: [0], revoked: [] });
  assert.equal((await pull).metadata.n, 0);
  assert.deepEqual(await take(consumer, 3), [1, 0, 1]);
});

test('a consumer that cannot be opened tells every pull', async () => {
  const { core, topic } = await openFakeTopic();
  core.refusals.set('consumerOpen', { code: 'OFFSET_OUT_OF_RANGE', message: 'x' });
  const consumer = topic.consumer({ name: 'c', from: 99 });
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'OFFSET_OUT_OF_RANGE', consumer: 'c' });
  await assert.rejects(consumer.ready, { code: 'OFFSET_OUT_OF_RANGE' });
  assert.throws(() => consumer.seek(0, 'beginning'), { code: 'OFFSET_OUT_OF_RANGE' });
  await consumer.close();
});

test('closing rejects pulls that wait, ends iterations and lets the process end', async () => {
  const { core, topic } = await openFakeTopic();
  const consumer = topic.consumer({ name: 'c' });
  await consumer.ready;
  await turn();
  assert.equal(core.alive, false, 'an idle consumer does not keep the process alive');
  const pull = consumer.pull();
  assert.equal(core.alive, true);
  const loop = (async () => {
    for await (const event of consumer) assert.fail(String(event.id));
  })();
  await turn();
  await consumer.close();
  await assert.rejects(Promise.resolve(pull), { code: 'ABORTED' });
  await loop;
  assert.equal(core.alive, false);
  await assert.rejects(Promise.resolve(consumer.pull()), { code: 'INVALID_STATE' });
  assert.throws(() => consumer.tryPull(), { code: 'INVALID_STATE' });
  consumer.destroy();
  assert.equal(consumer.state, 'closed');
});

test('an iteration that waits ends when closing begins, although acknowledgements are under way', async () => {
  const { topic } = await openFilled(1);
  const consumer = topic.consumer({ name: 'c' });
  const event = await consumer.pull();
  const next = consumer.events().next();
  await turn();
  const acknowledged = event.acknowledge();
  const producer = topic.producer();
  const stored = producer.push({ n: 1 });
  const closed = consumer.close();
  assert.equal(consumer.state, 'closing');
  assert.deepEqual(await next, { value: undefined, done: true });
  await Promise.all([acknowledged, stored, closed]);
});

test('waiting inside a selector is refused: its caller is what would have to go on', async () => {
  const { core, topic } = await openFakeTopic<Numbered>();
  const never = topic.producer({ batchSize: 100, lingerMs: 60_000 });
  const consumer = topic.consumer({ name: 'c', dataSelector: () => never.push({ n: 9 }).wait() as never });
  const pull = consumer.pull();
  core.stored(topic.uuid, 0).push({ metadata: Buffer.from('{"n":0}'), data: Buffer.alloc(1) });
  core.complete(CompletionKind.Delivery, core.consumerIds()[0] as number, 0, 0, 0, undefined);
  await assert.rejects(Promise.resolve(pull), { code: 'INVALID_STATE', eventId: 0n });
  never.destroy();
});

test('options are checked', async () => {
  const { topic } = await openFakeTopic({ partitions: 2 });
  const iterated = topic.consumer({ name: 'c' });
  assert.throws(() => iterated.events({ signal: 5 as never }), { code: 'INVALID_ARGUMENT' });
  iterated.destroy();
  const bad: [object, string][] = [
    [{}, 'INVALID_NAME'],
    [{ name: '' }, 'INVALID_NAME'],
    [{ name: 'c', partitions: [] }, 'INVALID_ARGUMENT'],
    [{ name: 'c', partitions: [2] }, 'INVALID_PARTITION'],
    [{ name: 'c', partitions: [0.5] }, 'INVALID_PARTITION'],
    [{ name: 'c', partitions: [1, 1] }, 'INVALID_ARGUMENT'],
    [{ name: 'c', from: 'start' }, 'INVALID_ARGUMENT'],
    [{ name: 'c', from: -1 }, 'INVALID_ARGUMENT'],
    [{ name: 'c', from: [0] }, 'INVALID_ARGUMENT'],
    [{ name: 'c', dataAllocator: () => Buffer.alloc(0) }, 'INVALID_ARGUMENT'],
    [{ name: 'c', dataSelector: 7 }, 'INVALID_ARGUMENT'],
    [{ name: 'c', selector: fullData }, 'INVALID_ARGUMENT'],
  ];
  for (const [options, code] of bad) {
    assert.throws(() => topic.consumer(options as never), { code }, JSON.stringify(options));
  }
});
