/** Child process: pushes events of 1 MiB. */
import { Driver } from 'diaspora-stream';

const [address = '', provider = 'auto', count = '0'] = process.argv.slice(2);
const driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
const producer = (await driver.openTopic('soak')).producer();
const buffers = Array.from({ length: 64 }, (_, i) => Buffer.alloc(1 << 20, i));
for (let i = 0; i < Number(count); i++) {
  producer.push(`{"index":${i}}`, buffers[i % buffers.length] as Buffer);
  await producer.ready;
}
await driver.close();
process.disconnect();
