/** Stages in the workers of a thread pool: the same results, orderings, waits, and workers that hang or end. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { z } from 'zod';
import {
  type CommonDriverOptions,
  type DiasporaError,
  Driver,
  Ordering,
  type Producer,
  type ProducerOptions,
  type ThreadPool,
  type ThreadPoolOptions,
  type TopicHandle,
  type TopicOptions,
} from '../../lib/index.js';
import { temporaryDirectory } from '../support/temporary.js';
import { poolModules } from './pool-modules.js';

interface Place {
  readonly driver: Driver;
  readonly directory: string;
  /** A new topic and a producer of it, with a pool of so many threads. */
  open(
    topic: TopicOptions<never>,
    threads: number,
    options?: ProducerOptions & ThreadPoolOptions,
  ): Promise<{ topic: TopicHandle<unknown>; producer: Producer }>;
}

async function place(t: TestContext, options: CommonDriverOptions = {}): Promise<Place> {
  const modules = await poolModules(t);
  const driver = await Driver.open({ data: false, modules, ...options });
  t.after(() => driver.destroy());
  let topics = 0;
  return {
    driver,
    directory: await temporaryDirectory(t),
    open: async (options, threads, { stageTimeoutMs, ...producerOptions } = {}) => {
      topics += 1;
      await driver.createTopic(`t${topics}`, options);
      const topic = await driver.openTopic(`t${topics}`);
      const threadPool = driver.makeThreadPool(threads, stageTimeoutMs === undefined ? {} : { stageTimeoutMs });
      return { topic, producer: topic.producer({ threadPool, ...producerOptions }) };
    },
  };
}

const obeys = { validator: { type: 'obeys:./pool.mjs' } } as const;

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(1);
}

/** What each partition has, as text, in order. */
async function contents(topic: TopicHandle<unknown>): Promise<string[][]> {
  const { partitions } = await topic.describe();
  const seen: string[][] = partitions.map(() => []);
  const consumer = topic.consumer({ name: `reader${Math.random()}` });
  const count = partitions.reduce((sum, { nextId }) => sum + Number(nextId), 0);
  for (let i = 0; i < count; i++) {
    const event = await consumer.pull();
    seen[event.partition]?.push(Buffer.from(event.metadataBytes).toString('latin1'));
  }
  await consumer.close();
  return seen;
}

function codeOf(reason: unknown): unknown {
  const { code, message, topic, partition, retryable, cause } = reason as DiasporaError;
  const { name, message: text } = (cause ?? {}) as Error;
  return { code, message, topic: topic?.replace(/\d+$/, ''), partition, retryable, cause: { name, text } };
}

class Point {
  readonly x = 1;
  toJSON(): object {
    return { key: 3, point: this.x };
  }
}

const cycle: Record<string, unknown> = { key: 1 };
cycle['self'] = cycle;

/** What may be pushed, and asked for. */
const values: readonly (readonly [metadata: unknown, partition?: unknown])[] = [
  [{ key: 1, text: 'a' }],
  [{ key: 2, text: 'ä\ud800' }, 1],
  ['{ "key" : 3, "key": 4 }'],
  ['{"key": 1'],
  ['nonsense'],
  ['7'],
  [null],
  [true],
  ['"text"'],
  ['"fail"'],
  [[1, [2, { key: 3 }]]],
  [{ key: 1, when: new Date(0) }],
  [{ key: 1, when: '1970-01-01T00:00:00.000Z' }],
  [{ key: 1, nothing: undefined }],
  [{ key: 1, big: 2n }],
  [{ key: -0 }],
  [{ key: Number.NaN }],
  [{ key: 1, bytes: Buffer.from('ab') }],
  [{ key: 1, list: [1, undefined, () => 1] }],
  [new Point()],
  [{ key: 1, point: new Point() }],
  [Object.assign(Object.create(null), { key: 2 })],
  [new Map([['key', 1]])],
  [{ key: 1, deep: { toJSON: () => 5 } }],
  [cycle],
  [undefined],
  [() => 1],
  [5n],
  [JSON.parse('{"key":1,"__proto__":{"a":1}}')],
  [{ key: 1 }, 5],
  [{ key: 1 }, -1],
  [{ key: 1 }, 'one'],
  [{ key: 1 }, Symbol('s')],
  [{ key: 'x' }, -1],
  [{ key: 2, bad: 'throw' }, -1],
  [{ key: 2, bad: 'throw' }],
  [{ key: 2, bad: 9 }],
  [{ key: 2, bad: '1' }],
  [{ key: 1, add: 'x' }],
  ['{"key": 1, "add": "x"}'],
  [{ key: 1, refuse: 'because' }],
  [{ key: 1, refuse: false }],
  [{ key: 1000, last: true }],
];

const schema = { type: 'object', properties: { key: { type: 'integer' }, when: { type: 'string' } } };

const stageSets: Record<string, TopicOptions<never>> = {
  schema: { validator: { type: 'schema', schema } },
  'schema, sticky': { validator: { type: 'schema', schema }, partitionSelector: { type: 'sticky', events: 2 } },
  eventbridge: { validator: { type: 'eventbridge', schema: { key: [1, 2] } } },
  'hash, raw': { partitionSelector: { type: 'hash', path: 'key' }, serializer: 'raw' },
  range: { partitionSelector: { type: 'range', path: 'key', minimum: 0, maximum: 4 } },
  msgpack: { serializer: 'msgpack' },
  'schema codec': { serializer: { type: 'schema', schema } },
  'module validator': obeys,
  'module selector': { partitionSelector: { type: 'byKey:./pool.mjs', offset: 1 } },
  'module serializer, text': { serializer: { type: 'shouts:./pool.mjs' } },
  'module serializer, bytes': { serializer: { type: 'bytes:./pool.mjs' }, partitionSelector: { type: 'sticky' } },
  'all of modules': {
    ...obeys,
    partitionSelector: { type: 'byKey:./pool.mjs', offset: 0 },
    serializer: { type: 'bytes:./pool.mjs' },
  },
  defaults: {},
};

for (const [name, stages] of Object.entries(stageSets)) {
  test(`workers give what the caller's thread gives: ${name}`, async (t) => {
    const { open } = await place(t);
    const results: unknown[] = [];
    for (const threads of [0, 2]) {
      const { topic, producer } = await open({ ...stages, partitions: 2 }, threads);
      const futures = values.map(([metadata, partition]) =>
        // A copy: stages may change what they are given.
        producer.push(
          metadata !== null && typeof metadata === 'object' && Object.getPrototypeOf(metadata) === Object.prototype
            ? { ...metadata }
            : metadata,
          undefined,
          partition === undefined ? undefined : { partition: partition as number },
        ),
      );
      const settled = await Promise.allSettled(futures.map((future) => Promise.resolve(future)));
      await producer.close();
      const outcomes = settled.map((each) => (each.status === 'fulfilled' ? each.value : codeOf(each.reason)));
      results.push({ outcomes, contents: await contents(topic) });
    }
    assert.deepEqual(results[1], results[0]);
  });
}

test('a JSON Schema given to openTopic is checked in workers, a Standard Schema on the caller’s thread', async (t) => {
  const { driver } = await place(t);
  await driver.createTopic('t', { validator: { type: 'tells:./pool.mjs' } });
  await driver.createTopic('u');
  const threadPool = driver.makeThreadPool(1);
  const where = async (name: string, options: object): Promise<string> => {
    const producer = (await driver.openTopic(name, options)).producer({ threadPool });
    const error: unknown = await Promise.resolve(producer.push({ n: 'x' })).catch((thrown: unknown) => thrown);
    return (error as Error).message.replace('the validator refused the event: ', '');
  };
  assert.equal(await where('t', {}), 'worker');
  assert.equal(await where('t', { schema: z.object({}) }), 'main');
  assert.match(await where('u', { schema: { properties: { n: { type: 'integer' } } } }), /metadata\/n must be integer/);
});

test('stages that cannot travel, or look at data, keep all of them on the caller’s thread', async (t) => {
  const { driver, open } = await place(t);
  const told = async (producer: Producer, data?: Buffer): Promise<string> => {
    const error: unknown = await Promise.resolve(producer.push({}, data)).catch((thrown: unknown) => thrown);
    return (error as Error).message.replace('the validator refused the event: ', '');
  };
  const tells = { validator: { type: 'tells:./pool.mjs' } } as const;
  assert.equal(await told((await open(tells, 1)).producer), 'worker');
  assert.equal(await told((await open(tells, 0)).producer), 'main');
  const local = { ...tells, serializer: { serialize: String, deserialize: String } as never };
  assert.equal(await told((await open(local, 1)).producer), 'main');
  const withData = { validator: { type: 'tellsWithData:./pool.mjs' } } as const;
  assert.equal(await told((await open(withData, 1)).producer, Buffer.alloc(3)), 'main 3');
  assert.equal(driver.defaultThreadPool.threads, 0);
});

test('strict: an event is stored behind those that were pushed before it, whatever worker is first', async (t) => {
  const { directory, open } = await place(t);
  const { topic, producer } = await open({ ...obeys }, 2, { ordering: Ordering.Strict });
  const [gate, done] = [join(directory, 'gate'), join(directory, 'done')];
  const slow = producer.push({ gate });
  const fast = Array.from({ length: 5 }, (_, n) => producer.push({ n }));
  const last = producer.push({ done });
  await until(() => existsSync(done));
  for (let i = 0; i < 5; i++) {
    await turn();
    assert.equal(
      [slow, ...fast, last].some(({ completed }) => completed),
      false,
    );
  }
  const { events, batches } = producer.pending;
  assert.deepEqual([events, batches], [7, 0]);
  await writeFile(gate, '');
  assert.deepEqual(await Promise.all([slow, ...fast, last]), [0n, 1n, 2n, 3n, 4n, 5n, 6n]);
  assert.equal((await contents(topic))[0]?.[0], JSON.stringify({ gate }));
});

test('loose: an event whose stages are done sooner overtakes', async (t) => {
  const { directory, open } = await place(t);
  const { producer } = await open({ ...obeys }, 2, { ordering: Ordering.Loose });
  // What is known to be fast goes in large groups: the slow one has others before and behind it in its group.
  for (let n = 0; n < 2000; n++) producer.push({ n });
  await producer.flush();
  const gate = join(directory, 'gate');
  const before = Array.from({ length: 20 }, (_, n) => producer.push({ n }));
  const slow = producer.push({ gate });
  const behind = Array.from({ length: 500 }, (_, n) => producer.push({ n }));
  const ids = await Promise.all([...before, ...behind]);
  assert.equal(new Set(ids).size, 520);
  assert.equal(slow.completed, false);
  const flush = producer.flush();
  for (let i = 0; i < 5; i++) await turn();
  assert.equal(flush.completed, false, 'a flush waits for the event that was overtaken');
  await writeFile(gate, '');
  assert.equal(await slow, 2520n);
  await flush;
});

test('wait, completed and flush need no turn of the event loop', async (t) => {
  const { directory, open } = await place(t);
  const { producer } = await open({ ...obeys, serializer: 'msgpack' }, 2, { batchSize: 1000, lingerMs: 60_000 });
  const gate = join(directory, 'gate');
  const slow = producer.push({ gate });
  assert.equal(slow.wait(0), undefined);
  assert.equal(slow.wait(5), undefined);
  const { writeFileSync } = await import('node:fs');
  writeFileSync(gate, '');
  assert.equal(slow.wait(), 0n);
  const refused = producer.push({ refuse: 'no' });
  assert.throws(() => refused.wait(), { code: 'INVALID_METADATA', message: /no/ });
  const futures = Array.from({ length: 1001 }, (_, n) => producer.push({ n }));
  assert.equal(futures[999]?.wait(), 1000n);
  assert.equal(producer.flush().wait(), undefined);
  assert.equal(futures.at(-1)?.completed, true);
  const polled = producer.push({});
  const flushed = producer.flush();
  while (!flushed.completed);
  assert.equal(polled.completed, true);
  const ended = producer.push({ exit: 3 });
  assert.throws(() => ended.wait(), { code: 'ABORTED', message: /exit code 3/ });
  assert.equal(producer.push({}).wait(), 1003n);
});

test('a pull that is waited for gets what is still in its stages', async (t) => {
  const { open } = await place(t);
  const { topic, producer } = await open({ ...obeys }, 1);
  const consumer = topic.consumer({ name: 'c' });
  const pulled = consumer.pull();
  producer.push({ n: 1 });
  assert.deepEqual(pulled.wait()?.metadata, { n: 1 });
});

test('what is pushed is copied, or held until it is stored', async (t) => {
  const { topic, producer } = await (await place(t)).open({ ...obeys }, 2);
  const metadata = { n: 1, list: [1] };
  const segments = [Buffer.from('ab'), Buffer.from('cd')];
  producer.push(metadata, segments);
  metadata.n = 2;
  metadata.list.push(2);
  segments.pop();
  const odd = { when: new Date(0) };
  const future = producer.push(odd);
  odd.when = new Date(1);
  await future;
  const consumer = topic.consumer({ name: 'c', dataSelector: (_metadata, all) => all });
  const event = await consumer.pull();
  assert.deepEqual(event.metadata, { n: 1, list: [1] });
  assert.equal(String(event.data), 'abcd');
  assert.deepEqual((await consumer.pull()).metadata, { when: '1970-01-01T00:00:00.000Z' });
});

test('events in stages are pending: they count for the hard limit, for ready and for flush', async (t) => {
  const { directory, open } = await place(t, { pendingBytesMax: 10_000 });
  const { producer } = await open({ ...obeys }, 1);
  const gate = join(directory, 'gate');
  const first = producer.push({ gate }, Buffer.alloc(2000));
  const second = producer.push({}, Buffer.alloc(2500));
  const bytes = 2 * 16 + JSON.stringify({ gate }).length + 2 + 4500;
  assert.deepEqual(producer.pending, { events: 2, batches: 0, bytes });
  const large = producer.push({}, [Buffer.alloc(3000), Buffer.alloc(3000)]);
  assert.equal(large.completed, true);
  await assert.rejects(Promise.resolve(large), { code: 'QUEUE_FULL', retryable: true });
  producer.push({}, Buffer.alloc(1000));
  let isReady = false;
  const ready = producer.ready.then(() => {
    isReady = true;
  });
  await sleep(30);
  assert.equal(isReady, false, 'more than half of the limit is in stages');
  const flush = producer.flush();
  assert.equal(flush.wait(1), undefined);
  await writeFile(gate, '');
  await ready;
  await flush;
  assert.deepEqual(await Promise.all([first, second]), [0n, 1n]);
  assert.deepEqual(producer.pending, { events: 0, batches: 0, bytes: 0 });
});

test('ready waits for what other producers have in stages, until it is stored or they are destroyed', async (t) => {
  const { directory, open } = await place(t, { pendingBytesMax: 10_000 });
  const { producer: other } = await open({}, 0);
  for (const end of ['stored', 'destroyed']) {
    const { producer } = await open({ ...obeys }, 1);
    const gate = join(directory, end);
    producer.push({ gate }, Buffer.alloc(6000));
    let isReady = false;
    const ready = other.ready.then(() => {
      isReady = true;
    });
    await sleep(20);
    assert.equal(isReady, false);
    if (end === 'stored') await writeFile(gate, '');
    else producer.destroy();
    await ready;
  }
});

test('ready waits while more events are in stages than the workers need', async (t) => {
  const { directory, open } = await place(t);
  const { producer } = await open({ ...obeys }, 1);
  const gate = join(directory, 'gate');
  for (let n = 0; n <= 1024; n++) producer.push(n === 0 ? { gate } : { n });
  let isReady = false;
  const ready = producer.ready.then(() => {
    isReady = true;
  });
  await sleep(20);
  assert.equal(isReady, false);
  await writeFile(gate, '');
  await ready;
  await producer.close();
});

test('a stage that never returns fails with TIMEOUT, and nothing else does', async (t) => {
  const { open } = await place(t);
  for (const [threads, ordering] of [
    [1, Ordering.Loose],
    [2, Ordering.Strict],
  ] as const) {
    const { topic, producer } = await open({ ...obeys }, threads, { stageTimeoutMs: 400, ordering });
    const before = producer.push({ n: 0 });
    const hanging = producer.push({ hang: true });
    const behind = Array.from({ length: 10 }, (_, n) => producer.push({ n }));
    // Without the event loop, too.
    assert.throws(() => hanging.wait(), { code: 'TIMEOUT', retryable: true, message: /stageTimeoutMs/ });
    assert.equal((await Promise.all([before, ...behind])).length, 11);
    const again = producer.push({ hang: true });
    await producer.close();
    await assert.rejects(Promise.resolve(again), { code: 'TIMEOUT', topic: topic.name });
    assert.equal((await contents(topic))[0]?.length, 11);
  }
});

test('a worker that ends fails what it was at; others go on with a new one', async (t) => {
  const { open } = await place(t);
  const { topic, producer } = await open({ ...obeys }, 2);
  const ending = [
    [producer.push({ exit: 3 }), /exit code 3/],
    [producer.push({ exit: 0 }), /exit code 0/],
    [producer.push({ deaf: 4 }), /exit code 4/],
  ] as const;
  const good = Array.from({ length: 300 }, (_, n) => producer.push({ n }));
  for (const [future, message] of ending) {
    await assert.rejects(Promise.resolve(future), { code: 'ABORTED', message, topic: topic.name });
  }
  await Promise.all(good);
  // Thrown behind the event's back: the event is stored, the worker ends, and the next ones go to another.
  await producer.push({ thrown: 'later' });
  for (let n = 0; n < 20; n++) {
    await producer.push({ n }).then(undefined, (thrown: unknown) => {
      const { code, cause } = thrown as DiasporaError;
      assert.equal(code, 'ABORTED');
      assert.ok(cause instanceof RangeError);
    });
    await sleep(1);
  }
  await producer.close();
});

test('stages that no worker can make fail with the reason', async (t) => {
  const { open } = await place(t);
  for (const [how, expected] of [
    ['throw', { code: 'INVALID_ARGUMENT', message: /not in a worker/ }],
    ['exit', { code: 'ABORTED', message: /exit code 7/ }],
    ['hang', { code: 'TIMEOUT', message: /to load the stages/ }],
  ] as const) {
    const validator = { type: 'ends:./pool.mjs', how } as const;
    const { producer } = await open({ validator }, 2, { stageTimeoutMs: 200 });
    const futures = [1, 2, 3].map((n) => producer.push({ n }));
    for (const future of futures) await assert.rejects(Promise.resolve(future), expected, how);
    await producer.close();
  }
});

test('destroy abandons what is in stages, and nothing waits for a stage that hangs', async (t) => {
  const { driver, open, directory } = await place(t);
  const { producer } = await open({ ...obeys }, 1);
  const begun = join(directory, 'begun');
  const futures = [producer.push({ begun, hang: true }), producer.push({})];
  const flush = producer.flush();
  const closing = producer.close();
  await until(() => existsSync(begun));
  producer.destroy();
  for (const future of [...futures, flush]) {
    assert.equal(future.completed, true);
    await assert.rejects(Promise.resolve(future), { code: 'ABORTED' });
  }
  await assert.rejects(closing, { code: 'ABORTED' });
  assert.deepEqual(producer.pending, { events: 0, batches: 0, bytes: 0 });
  const other = (await open({ ...obeys }, 2)).producer;
  const hanging = other.push({ hang: true });
  await driver.destroy();
  await assert.rejects(Promise.resolve(hanging), { code: 'ABORTED' });
});

test('a pool that is closed finishes what it has, and takes nothing more', async (t) => {
  const { driver, open } = await place(t);
  const { producer } = await open({ ...obeys }, 2);
  const pool = producer.threadPool;
  const futures = Array.from({ length: 50 }, (_, n) => producer.push({ n }));
  await Promise.all([pool?.close(), pool?.close()]);
  assert.equal((await Promise.all(futures)).length, 50);
  await assert.rejects(Promise.resolve(producer.push({})), { code: 'INVALID_STATE', message: /thread pool/ });
  await assert.rejects(Promise.resolve(producer.push({ when: new Date() })), { code: 'INVALID_STATE' });
  await producer.close();
  await driver.close();
  assert.throws(() => driver.makeThreadPool(1), { code: 'INVALID_STATE' });
});

test('a driver forgets a pool that is closed or destroyed', { timeout: 60_000 }, async (t) => {
  const { driver } = await place(t);
  for (const end of ['close', 'destroy'] as const) {
    const made = async (): Promise<WeakRef<ThreadPool>> => {
      const pool = driver.makeThreadPool(1);
      await pool[end]();
      return new WeakRef(pool);
    };
    const pool = await made();
    await until(() => {
      globalThis.gc?.();
      return pool.deref() === undefined;
    });
  }
});

test('the options of a pool are checked', async (t) => {
  const { driver } = await place(t);
  for (const threads of [-1, 1.5, 1025, 'two' as never]) {
    assert.throws(() => driver.makeThreadPool(threads), { code: 'INVALID_ARGUMENT' });
  }
  assert.throws(() => driver.makeThreadPool(1, { stageTimeoutMs: 1 }), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => driver.makeThreadPool(1, { timeout: 1 } as never), { code: 'INVALID_ARGUMENT' });
  assert.equal(driver.makeThreadPool(3).stageTimeoutMs, 30_000);
});

for (const threads of [0, 1, 2, 4]) {
  test(`four producers share a pool of ${threads}: all is stored once, and no wait is for ever`, async (t) => {
    const { driver } = await place(t);
    await driver.createTopic('t', {
      ...obeys,
      partitions: 3,
      partitionSelector: { type: 'hash', path: 'n' },
    });
    const topic = await driver.openTopic('t');
    const threadPool = driver.makeThreadPool(threads);
    const each = 600;
    const kinds: ProducerOptions[] = [
      { batchSize: 1, ordering: Ordering.Strict },
      { batchSize: 2, ordering: Ordering.Loose },
      { batchSize: 1000, ordering: Ordering.Strict, lingerMs: 60_000 },
      { ordering: Ordering.Loose },
    ];
    const producers = kinds.map((kind) => topic.producer({ threadPool, ...kind }));
    for (let n = 0; n < each; n++) {
      const futures = producers.map((producer, p) => producer.push({ n: p * each + n }));
      if (n % 97 === 0) assert.equal(typeof futures[n % 4]?.wait(), 'bigint');
      if (n % 151 === 0) producers[n % 4]?.flush().wait();
      if (n % 50 === 0) await futures[(n + 1) % 4];
      if (n % 200 === 0) await producers[(n + 2) % 4]?.flush();
      if (n % 10 === 0) await turn();
    }
    await Promise.all(producers.map((producer) => producer.close()));
    const stored = (await contents(topic)).map((texts) => texts.map((text) => (JSON.parse(text) as { n: number }).n));
    assert.deepEqual(
      stored.flat().sort((a, b) => a - b),
      Array.from({ length: 4 * each }, (_, n) => n),
    );
    for (const numbers of stored) {
      for (const strict of [0, 2]) {
        const mine = numbers.filter((n) => Math.floor(n / each) === strict);
        assert.deepEqual(
          mine,
          [...mine].sort((a, b) => a - b),
        );
      }
    }
  });
}
