/** Child process: reads a topic from its beginning, all data, and reports the rate from the first to the last event. */
import { Driver, fullData } from 'diaspora-stream';
import { cpuSeconds } from '../measure.js';

const [address = '', provider = 'auto', topicName = '', count = '0'] = process.argv.slice(2);
const total = Number(count);

const driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
const topic = await driver.openTopic(topicName);
const consumer = topic.consumer({ name: 'bench', dataSelector: fullData, maxNumBatches: 16, from: 'beginning' });
let seen = 0;
let bytes = 0;
let start = 0n;
let cpuBefore = 0;
for await (const batch of consumer.batches()) {
  if (seen === 0) {
    start = process.hrtime.bigint();
    cpuBefore = cpuSeconds();
  }
  for (const event of batch) bytes += event.data?.byteLength ?? 0;
  seen += batch.length;
  if (seen >= total) break;
}
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const result = { seconds, events: seen, bytes, cpu: cpuSeconds() - cpuBefore, counters: driver.counters() };
await consumer.close();
await driver.close();
process.send?.(result, () => process.disconnect());
