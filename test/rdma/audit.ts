/**
 * With what rights memory is registered, as libibverbs sees it (native/testing/preload/mr_audit.cc): a server's never
 * with remote ones, in whatever way events come and go; a client's only with the one that the transfer needs. And how
 * often: what is pushed again is not registered again.
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
const remoteAtomic = 8;
const remote = remoteWrite | remoteRead | remoteAtomic;

interface Audit {
  /** Runs node under the audit. */
  readonly node: readonly string[];
  /** What comes from now on counts: the trial of a provider at the start reads its own memory. */
  begin(): Promise<void>;
  /** The remote rights of the registrations since then, each once. */
  rights(): Promise<number[]>;
  /** How often memory of so many bytes was registered with these remote rights, at any time. */
  count(rights: number, bytes: number): Promise<number>;
}

async function audit(t: TestContext, environment: readonly string[] = []): Promise<Audit> {
  const file = join(await temporaryDirectory(t), 'registrations');
  const preload = `LD_PRELOAD=${join(import.meta.dirname, '../../../build-test/libmr_audit.so')}`;
  const lines = async (): Promise<string[]> => (await readFile(file, 'utf8')).trim().split('\n');
  let skipped = 0;
  const remoteRights = (line: string): number => Number(line.split(' ')[0]) & remote;
  return {
    node: ['env', ...environment, preload, `DIASPORA_MR_AUDIT=${file}`, process.execPath],
    begin: async () => {
      skipped = (await lines()).length;
    },
    rights: async () => [...new Set((await lines()).slice(skipped).map(remoteRights))].sort(),
    count: async (rights, bytes) => {
      const wanted = (line: string): boolean => remoteRights(line) === rights && line.endsWith(` ${bytes}`);
      return (await lines()).filter(wanted).length;
    },
  };
}

test('verbs: no memory of a server is open to its clients', { timeout: 180_000 }, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('verbs');
  const ofServer = await audit(t);
  const data = join(directory, 'data');
  await startServer(t, { data, groupFile, provider, ...serverPlace('verbs') }, ofServer.node);
  await ofServer.begin();
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  // Data that is gathered and, as the messages have no room, read; and data that is read where it lies.
  for (const dataBytes of [10_000, 200_000]) {
    const topic = `audited-${dataBytes}`;
    await driver.createTopic(topic);
    const common = { groupFile, provider, topic, events: 100, dataBytes, announces: true };
    const ofProducer = await audit(t);
    const pushing = Program.start(t, 'producer', { ...common, who: 0 }, ofProducer.node);
    await pushing.message();
    await ofProducer.begin();
    assert.equal((await pushing.message<{ acknowledged: number }>()).acknowledged, 100);
    await pushing.exited;
    const ofConsumer = await audit(t);
    const reading = Program.start(t, 'consumer', { ...common, name: 'c', partitions: [0] }, ofConsumer.node);
    await reading.message();
    await ofConsumer.begin();
    assert.deepEqual(await reading.message(), { seen: 100, wrong: [] });
    await reading.exited;
    // 0: memory of the provider's own.
    const remoteOnes = (rights: number[]): number[] => rights.filter((right) => right !== 0);
    assert.deepEqual(remoteOnes(await ofProducer.rights()), [remoteRead]);
    // The provider adds atomics by itself to what may be written.
    assert.deepEqual(remoteOnes(await ofConsumer.rights()), [remoteWrite | remoteAtomic]);
  }
  await driver.close();
  assert.deepEqual(await ofServer.rights(), [0]);
});

test('verbs: memory that is pushed again is registered once, unless nothing is to be kept', {
  timeout: 180_000,
}, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('verbs');
  await startServer(t, { groupFile, provider, ...serverPlace('verbs') });
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  await driver.createTopic('again', { partitions: 1 });
  const events = 50;
  const dataBytes = 200_000;
  const common = { groupFile, provider, topic: 'again', events, dataBytes, sameData: true };
  const push = async (environment: readonly string[]): Promise<number> => {
    const ofProducer = await audit(t, environment);
    const pushing = Program.start(t, 'producer', { ...common, who: 0 }, ofProducer.node);
    assert.equal((await pushing.message<{ acknowledged: number }>()).acknowledged, events);
    await pushing.exited;
    return ofProducer.count(remoteRead, dataBytes);
  };
  assert.equal(await push([]), 1);
  assert.equal(await push(['DIASPORA_REGISTRATION_CACHE=0']), events);
  await driver.close();
});
