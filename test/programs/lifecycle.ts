/**
 * The ends that a process can come to, by name: each opens a driver, makes work and ends in its own way. What it must not
 * do is crash or hang.
 */
import { Worker } from 'node:worker_threads';
import { Driver, type DriverOptions, type Producer, type TopicHandle } from '../../lib/index.js';
import { letGo, optionsOf, tell } from '../support/child.js';
import { pattern } from '../support/pattern.js';

export interface LifecycleOptions {
  readonly ending: keyof typeof endings;
  readonly driver: DriverOptions;
  readonly topic: string;
  readonly random: number;
}

const options = optionsOf<LifecycleOptions>();
const collect = (globalThis as { gc?: () => void }).gc ?? ((): void => undefined);

async function openTopic(): Promise<{ driver: Driver; topic: TopicHandle }> {
  const driver = await Driver.open(options.driver);
  return { driver, topic: await driver.openTopic(options.topic) };
}

function pushSome(producer: Producer, count: number): void {
  for (let n = 0; n < count; n += 1) producer.push({ n }, pattern(n, [0, 100, 100_000][n % 3] as number));
}

/** Things that only memory going away can break. */
async function transferInFlight(shrink: boolean): Promise<void> {
  const { driver, topic } = await openTopic();
  const producer = topic.producer();
  const futures: PromiseLike<unknown>[] = [];
  for (let n = 0; n < 50; n += 1) {
    const Resizable = ArrayBuffer as unknown as new (
      bytes: number,
      options?: object,
    ) => ArrayBuffer & { resize(n: number): void };
    const buffer = shrink ? new Resizable(300_000, { maxByteLength: 400_000 }) : new Resizable(300_000);
    futures.push(producer.push({ n }, new Uint8Array(buffer)));
    if (shrink) buffer.resize(0);
    else structuredClone(buffer, { transfer: [buffer] });
    if (n % 10 === 0) collect();
  }
  // Each is stored with its own bytes or refused with a code; the process lives.
  const results = await Promise.allSettled(futures);
  const codes = results.map((result) =>
    result.status === 'fulfilled' ? 'stored' : (result.reason as { code: string }).code,
  );
  await tell([...new Set(codes)].sort());
  await producer.close().catch(() => undefined);
  await driver.close();
}

const endings = {
  /** Nothing is closed; what was pushed is stored before the process ends by itself. */
  exitWithoutClose: async () => {
    const { topic } = await openTopic();
    pushSome(topic.producer({ batchSize: 50 }), 120);
    topic.consumer({ name: 'idle' });
  },
  /** An idle driver, producer and consumer do not keep the process alive. */
  exitIdle: async () => {
    const { topic } = await openTopic();
    await topic.producer().push({ n: 0 });
    await topic.consumer({ name: 'idle' }).pull();
  },
  exitInFlush: async () => {
    const { topic } = await openTopic();
    const producer = topic.producer();
    pushSome(producer, 300);
    void producer.flush();
    setTimeout(() => process.exit(0), options.random * 10);
  },
  exitAtOnce: async () => {
    const { topic } = await openTopic();
    pushSome(topic.producer(), 300);
    process.exit(0);
  },
  destroyInFlight: async () => {
    const { driver, topic } = await openTopic();
    const producer = topic.producer();
    pushSome(producer, 300);
    producer.destroy();
    pushSome(topic.producer(), 300);
    await driver.destroy();
  },
  collectProducers: async () => {
    const { driver, topic } = await openTopic();
    for (let round = 0; round < 30; round += 1) {
      pushSome(topic.producer(), 10);
      void topic.consumer({ name: `c${round % 3}` }).ready;
      if (round % 5 === 0) collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
    await driver.close();
  },
  transferInFlight: () => transferInFlight(false),
  shrinkInFlight: () => transferInFlight(true),
  /** Workers, each with its own driver, are terminated in the middle of their work. */
  terminateWorkers: async () => {
    const workers = Array.from(
      { length: 3 },
      () => new Worker(new URL('./lifecycle-worker.js', import.meta.url), { workerData: options }),
    );
    const begun = workers.map(
      (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)),
    );
    await Promise.all(begun);
    await new Promise((resolve) => setTimeout(resolve, options.random * 20));
    await Promise.all(workers.map((worker) => worker.terminate()));
    // The process goes on: the core is shared by all its environments.
    if (options.driver.driver === 'fabric') {
      const { driver, topic } = await openTopic();
      await topic.producer().push({ n: -1 });
      await driver.close();
    }
  },
} as const;

letGo();
await endings[options.ending]();
