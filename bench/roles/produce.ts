/** Child process: pushes one workload from one thread and reports when all of it is acknowledged. */
import { Driver } from 'diaspora-stream';
import { cpuSeconds } from '../measure.js';
import { metadataText, type Workload } from '../workloads.js';

const [address = '', provider = 'auto', topicName = '', json = '{}'] = process.argv.slice(2);
const { events, metadataBytes, dataBytes } = JSON.parse(json) as Workload;

const driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
const topic = await driver.openTopic(topicName);
const producer = topic.producer();
const texts = Array.from({ length: 1024 }, (_, i) => metadataText(metadataBytes, i));
// A window of 64 MiB, as in the raw measurement: larger than the caches.
const buffers = Array.from({ length: dataBytes > 0 ? Math.min(1024, Math.ceil((64 << 20) / dataBytes)) : 0 }, (_, i) =>
  Buffer.alloc(dataBytes, i),
);

async function run(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const text = texts[i & 1023] as string;
    if (dataBytes > 0) producer.push(text, buffers[i % buffers.length] as Buffer);
    else producer.push(text);
    if ((i & 127) === 0) await producer.ready;
  }
  await producer.flush();
}

await run(Math.ceil(events / 10)); // warms the compiler and the connection: its socket buffers grow to their size
const cpuBefore = cpuSeconds();
const start = process.hrtime.bigint();
await run(events);
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const result = { seconds, cpu: cpuSeconds() - cpuBefore, counters: driver.counters() };
await driver.close();
process.send?.(result, () => process.disconnect());
