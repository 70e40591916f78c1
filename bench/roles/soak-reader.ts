/** Child process: reads events of 1 MiB; with a pause, it opens its consumer, takes one event and waits to be resumed. */
import { once } from 'node:events';
import { Driver, fullData } from 'diaspora-stream';

const [address = '', provider = 'auto', count = '0', pause = '0'] = process.argv.slice(2);
const driver = await Driver.open({ driver: 'fabric', servers: [address], provider });
const consumer = (await driver.openTopic('soak')).consumer({ name: `reader-${pause}`, dataSelector: fullData });
let seen = 0;
for await (const event of consumer) {
  if (event.data?.[0] !== seen % 64) throw new Error(`event ${event.id} has the wrong bytes`);
  if (seen === 0 && pause === '1') await once(process, 'message');
  seen += 1;
  if (seen === Number(count)) break;
}
await driver.close();
process.disconnect();
