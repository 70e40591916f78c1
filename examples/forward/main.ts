/**
 * Forwarding: the events of an instrument's topic go on to an archive as they come, partition by partition, with the
 * part of their data that is worth keeping. It is interrupted half way and goes on where it stopped.
 *
 *     node dist/examples/forward/main.js
 *
 * The same without a program: `diaspora forward --config rules.yaml`, see `diaspora forward --help`.
 */
import { type DataDescriptor, Driver, forward, fullData, type TopicHandle } from '../../lib/index.js';

const frames = 100;
const frameBytes = 4096;
const headerBytes = 256;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function keepHeader(_metadata: unknown, frame: DataDescriptor): DataDescriptor {
  return frame.makeSubView(0, headerBytes);
}

async function open(driver: Driver, name: string): Promise<TopicHandle> {
  await driver.createTopic(name, { partitions: 2 });
  return driver.openTopic(name);
}

async function pushFrames(topic: TopicHandle, first: number): Promise<void> {
  const producer = topic.producer();
  for (let n = first; n < first + frames; n += 1) producer.push({ frame: n }, new Uint8Array(frameBytes).fill(n));
  await producer.close();
}

async function count(topic: TopicHandle): Promise<bigint> {
  const { partitions } = await topic.describe();
  return partitions.reduce((sum, { nextId }) => sum + nextId, 0n);
}

const instrument = await Driver.open({ data: false });
const archive = await Driver.open({ data: false });
try {
  const source = await open(instrument, 'frames');
  const target = await open(archive, 'headers');
  const options = { dataSelector: keepHeader, keepPartition: true } as const;

  await pushFrames(source, 0);
  const interruption = new AbortController();
  const running = forward(source, target, { ...options, signal: interruption.signal });
  while ((await count(target)) < BigInt(frames)) await new Promise((resolve) => setTimeout(resolve, 10));
  interruption.abort();
  say(`forwarded, then interrupted: ${await running}`);

  await pushFrames(source, frames);
  say(`went on behind it: ${await forward(source, target, { ...options, idleTimeoutMs: 500 })}`);

  const consumer = target.consumer({ name: 'check', dataSelector: fullData });
  const last: number[] = [];
  let bytes = 0;
  await consumer.process(
    ({ partition, metadata, data }) => {
      last[partition] = (metadata as { frame: number }).frame;
      bytes += data.length;
    },
    { maxEvents: 2 * frames },
  );
  say(`in the archive: ${await count(target)} events, ${bytes} bytes, the last frames ${last.join(' and ')}`);
} finally {
  await Promise.all([instrument.close(), archive.close()]);
}
