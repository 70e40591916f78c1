/** Child process: closed loop, one event in flight; microseconds from push to the awaited acknowledgement. */
import { Driver } from 'diaspora-stream';
import { metadataText } from '../workloads.js';

const [address = '', provider = 'auto', topicName = '', rounds = '3000'] = process.argv.slice(2);
const driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
const topic = await driver.openTopic(topicName);
const producer = topic.producer();
const text = metadataText(128, 1);
for (let i = 0; i < 500; i++) await producer.push(text);
const micros: number[] = [];
for (let i = 0; i < Number(rounds); i++) {
  const start = process.hrtime.bigint();
  await producer.push(text);
  micros.push(Number(process.hrtime.bigint() - start) / 1e3);
}
await driver.close();
process.send?.({ micros }, () => process.disconnect());
