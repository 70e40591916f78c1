/**
 * With what rights memory is registered, as libibverbs sees it (native/testing/preload/mr_audit.cc): a server's never
 * with remote ones, in whatever way events come and go; a client's only with the one that the transfer needs.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Driver } from '../../lib/index.js';
import { providerName, serverPlace } from '../support/backends.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

/** IBV_ACCESS_REMOTE_WRITE, _REMOTE_READ and _REMOTE_ATOMIC of <infiniband/verbs.h>. */
const remoteWrite = 2;
const remoteRead = 4;
const remote = remoteWrite | remoteRead | 8;

interface Audit {
  /** Runs node under the audit. */
  readonly node: readonly string[];
  /** The remote rights of each registration so far. */
  rights(): Promise<number[]>;
}

async function audit(t: TestContext): Promise<Audit> {
  const file = join(await temporaryDirectory(t), 'registrations');
  const preload = `LD_PRELOAD=${join(import.meta.dirname, '../../../build-test/libmr_audit.so')}`;
  return {
    node: ['env', preload, `DIASPORA_MR_AUDIT=${file}`, process.execPath],
    rights: async () => {
      const lines = (await readFile(file, 'utf8')).trim().split('\n');
      return lines.map((line) => Number(line.split(' ')[0]) & remote);
    },
  };
}

test('verbs: no memory of a server is open to its clients', { timeout: 120_000 }, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('verbs');
  const [server, producer, consumer] = await Promise.all([audit(t), audit(t), audit(t)]);
  const data = join(directory, 'data');
  await startServer(t, { data, groupFile, provider, ...serverPlace('verbs') }, server.node);
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  for (const dataBytes of [0, 100, 40_000, 200_000]) {
    const topic = `audited-${dataBytes}`;
    await driver.createTopic(topic);
    const common = { groupFile, provider, topic, events: 100, dataBytes };
    const pushing = Program.start(t, 'producer', { ...common, who: 0 }, producer.node);
    assert.equal((await pushing.message<{ acknowledged: number }>()).acknowledged, 100);
    await pushing.exited;
    const reading = Program.start(t, 'consumer', { ...common, name: 'reader', partitions: [0] }, consumer.node);
    assert.deepEqual(await reading.message(), { seen: 100, wrong: [] });
    await reading.exited;
  }
  await driver.close();
  assert.deepEqual(new Set(await server.rights()), new Set([0]));
  assert.deepEqual(new Set(await producer.rights()), new Set([0, remoteRead]));
  assert.deepEqual(new Set(await consumer.rights()), new Set([0, remoteWrite]));
});
