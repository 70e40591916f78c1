/** A worker thread that pushes and pulls until it is terminated. */
import { parentPort, workerData } from 'node:worker_threads';
import { Driver, type DriverOptions, fullData } from '../../lib/index.js';
import { pattern } from '../support/pattern.js';

const { driver: given, topic } = workerData as { driver: DriverOptions; topic: string };
// A directory has one owner: embedded drivers of workers are in memory, and so have topics of their own.
const driver = await Driver.open(given.driver === 'fabric' ? given : { data: false });
if (!(await driver.topicExists(topic))) await driver.createTopic(topic);
const handle = await driver.openTopic(topic);
const producer = handle.producer();
const consumer = handle.consumer({ name: 'worker', dataSelector: fullData });
void (async () => {
  for await (const event of consumer) void event.data;
})();
parentPort?.postMessage('begun');
for (let n = 0; ; n += 1) {
  producer.push({ n }, pattern(n, [0, 100, 100_000][n % 3] as number));
  if (n % 50 === 0) {
    await producer.ready;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
