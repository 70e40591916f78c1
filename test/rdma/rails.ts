/** Two rails over two RDMA devices, crosswise: both carry event data, each its own partitions. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Driver, fullData } from '../../lib/index.js';
import { providerName, serverPlace } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { startServer } from '../support/server-process.js';

/** The devices of the two addresses of DIASPORA_TEST_VERBS, in the guest: client's, server's. */
const [near, far] = ['rxe0', 'rxe1'] as const;
const events = 24;
const dataBytes = 200_000;

/** Packets that both devices have sent so far. */
async function packetsSent(): Promise<{ near: number; far: number }> {
  const read = async (device: string): Promise<number> =>
    Number(await readFile(`/sys/class/infiniband/${device}/ports/1/hw_counters/sent_pkts`, 'utf8'));
  return { near: await read(near), far: await read(far) };
}

test('two rails', { timeout: 120_000 }, async (t) => {
  const provider = await providerName('verbs');
  const server = await startServer(t, { provider, domain: `${far},${near}`, ...serverPlace('verbs') });
  const options = { driver: 'fabric', servers: [server.address], provider, domain: `${near},${far}` } as const;
  const driver = await Driver.open({ ...options, connectTimeoutMs: 30_000 });
  t.after(() => driver.destroy());
  assert.equal((await server.counters()).sessions, 2);
  await driver.createTopic('t', { partitions: 2 });
  const topic = await driver.openTopic<{ n: number }>('t');
  const producer = topic.producer();
  for (const partition of [0, 1]) {
    const before = await packetsSent();
    for (let n = 0; n < events; n += 1) producer.push({ n }, pattern(n, dataBytes), { partition });
    await producer.flush();
    // The server reads: a packet asks, many answer, all through this rail's devices.
    const after = await packetsSent();
    const share = (after.near - before.near) / (after.far - before.far);
    assert.ok(partition === 0 ? share > 1.5 : share < 1 / 1.5, `partition ${partition}: ${share} packets a packet`);
  }
  const consumer = topic.consumer({ name: 'reader', dataSelector: fullData });
  const next = [0, 0];
  for (let left = 2 * events; left > 0; left -= 1) {
    const { partition, metadata, data } = await consumer.pull();
    assert.equal(metadata.n, next[partition]);
    assert.ok(isPattern(metadata.n, data));
    next[partition] = metadata.n + 1;
  }
  await driver.close();
  await server.close();
});
