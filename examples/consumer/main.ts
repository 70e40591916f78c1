/**
 * The simplest consumer: a hundred events, acknowledged every ten. Started again it goes on behind the last ten.
 *
 *     node dist/examples/consumer/main.js                         from ./diaspora-data, without a server
 *     node dist/examples/consumer/main.js --group-file group.json from servers that run
 */
import { parseArgs } from 'node:util';
import { Driver } from '../../lib/index.js';

const { values } = parseArgs({ options: { data: { type: 'string' }, 'group-file': { type: 'string' } } });
const { data = './diaspora-data', 'group-file': groupFile } = values;
const driver = await Driver.open(groupFile === undefined ? { data } : { driver: 'fabric', groupFile });
try {
  const topic = await driver.openTopic<{ readonly x: number }>('my_topic');
  const consumer = topic.consumer({ name: 'my_consumer' });
  const ids: bigint[] = [];
  let sum = 0;
  for (let n = 0; n < 100; n += 1) {
    const event = await consumer.pull();
    ids.push(event.id);
    sum += event.metadata.x;
    if (n % 10 === 9) await event.acknowledge();
  }
  await consumer.close();
  process.stdout.write(`events ${ids[0]} to ${ids.at(-1)}, sum of x: ${sum}\n`);
} finally {
  await driver.close();
}
