/** A consumer dies by kill -9 while data is on its way into its memory: that is its own affair. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, fullData } from '../../lib/index.js';
import type { ConsumerProgramOptions } from '../programs/consumer.js';
import { providerName } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const events = 100;
const dataBytes = 2 ** 20;

// Over tcp: libfabric's shm keeps a lock in the memory of the one that is killed, see native/fabric/ofi_policy.cc.
test('consumers killed in the middle of deliveries disturb nobody, and the next of the name gets all', {
  timeout: 600_000,
}, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('tcp');
  const server = await startServer(t, { data: join(directory, 'store'), groupFile, provider });
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  t.after(() => driver.destroy());
  await driver.createTopic('t', { durability: 'os' });
  const topic = await driver.openTopic<{ who: number; n: number }>('t');
  const producer = topic.producer();
  for (let n = 0; n < events; n += 1) {
    producer.push({ who: 0, n }, pattern(n, dataBytes));
    await producer.ready;
  }
  await producer.flush();
  const endless: ConsumerProgramOptions = {
    ...{ groupFile, provider, topic: 't', name: 'victim', partitions: [0] },
    ...{ events: Number.MAX_SAFE_INTEGER, dataBytes, announces: true },
  };
  for (const pauseMs of [0, 10, 40]) {
    const victim = Program.start(t, 'consumer', endless);
    assert.equal(await victim.message(), 'connected');
    await sleep(pauseMs);
    await victim.kill();
    await producer.push({ who: 0, n: 0 });
  }
  const consumer = topic.consumer({ name: 'victim', dataSelector: fullData });
  let n = 0;
  for await (const { metadata, data } of consumer) {
    assert.ok(metadata.n === n && isPattern(n, data));
    n += 1;
    if (n === events) break;
  }
  await driver.close();
  await server.close();
});
