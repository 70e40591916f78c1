/**
 * The ends that a process with a thread pool can come to, by name. What it must not do is crash, hang, or lose what it
 * pushed before it ended by itself.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Driver, type DriverOptions, type Producer } from '../../lib/index.js';
import { letGo, optionsOf } from '../support/child.js';

export interface PoolOptions {
  readonly ending: keyof typeof endings;
  readonly driver: DriverOptions;
  readonly topic: string;
  /** A stage makes this file when it begins. */
  readonly begun: string;
}

const options = isMainThread ? optionsOf<PoolOptions>() : (workerData as PoolOptions);

async function openProducer(stageTimeoutMs: number = 30_000): Promise<{ driver: Driver; producer: Producer }> {
  const driver = await Driver.open(options.driver);
  const topic = await driver.openTopic(options.topic);
  const threadPool = driver.makeThreadPool(2, { stageTimeoutMs });
  return { driver, producer: topic.producer({ threadPool }) };
}

async function begun(): Promise<void> {
  while (!existsSync(options.begun)) await new Promise((resolve) => setTimeout(resolve, 1));
}

const endings = {
  /** Nothing is closed; what was pushed is stored before the process ends by itself. */
  exitWithoutClose: async () => {
    const { producer } = await openProducer();
    for (let n = 0; n < 120; n += 1) producer.push({ n });
  },
  /** An idle pool does not keep the process alive. */
  exitIdle: async () => {
    const { producer } = await openProducer();
    await producer.push({ n: 0 });
  },
  exitWhileHanging: async () => {
    const { producer } = await openProducer();
    producer.push({ begun: options.begun, hang: true });
    await begun();
    process.exit(0);
  },
  /** The process ends by itself once the stage that hangs is given up, and has stored the others. */
  hangForgotten: async () => {
    const { producer } = await openProducer(300);
    producer.push({ n: 0 });
    producer.push({ hang: true });
    producer.push({ n: 1 });
  },
  /** A thread of the program that uses a pool is terminated; its workers with it. */
  terminateOwner: async () => {
    const owner = new Worker(fileURLToPath(import.meta.url), { workerData: { ...options, ending: 'ownPool' } });
    await new Promise((resolve, reject) => owner.once('message', resolve).once('error', reject));
    await owner.terminate();
  },
  ownPool: async () => {
    const { producer } = await openProducer();
    producer.push({ begun: options.begun, hang: true });
    await begun();
    parentPort?.postMessage('begun');
    producer.push({}).wait();
  },
} as const;

if (isMainThread) letGo();
await endings[options.ending]();
