/**
 * The simplest producer: a hundred events, flushed now and then. The consumer beside it reads them.
 *
 *     node dist/examples/producer/main.js                         in ./diaspora-data, without a server
 *     node dist/examples/producer/main.js --group-file group.json on servers that run
 */
import { parseArgs } from 'node:util';
import { Driver } from '../../lib/index.js';

const { values } = parseArgs({ options: { data: { type: 'string' }, 'group-file': { type: 'string' } } });
const { data = './diaspora-data', 'group-file': groupFile } = values;
const driver = await Driver.open(groupFile === undefined ? { data } : { driver: 'fabric', groupFile });
try {
  if (!(await driver.topicExists('my_topic'))) await driver.createTopic('my_topic');
  const topic = await driver.openTopic('my_topic');
  const producer = topic.producer({ name: 'my_producer' });
  for (let n = 0; n < 100; n += 1) {
    const stored = producer.push({ x: n, name: 'bob' });
    // To await each costs a round trip each; the ids come all the same.
    if (n === 0) process.stdout.write(`the first event has id ${await stored}\n`);
    if (n % 10 === 9) producer.flush();
  }
  await producer.close(); // flushes: everything is stored
  process.stdout.write(`stored 100 events in ${topic.name}\n`);
} finally {
  await driver.close();
}
