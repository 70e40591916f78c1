import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatGroup } from '../lib/group-file.js';
import { Driver } from '../lib/index.js';
import { CompletionKind, type NativeTopicEntry } from '../lib/native.js';
import { installBinding } from '../lib/runtime.js';
import { FakeCore } from './support/fake-core.js';
import { openFake } from './support/fake-driver.js';
import { until } from './support/pipes.js';
import { temporaryDirectory } from './support/temporary.js';

test('topics are created, listed, found and deleted', async () => {
  const { driver } = await openFake();
  await driver.createTopic('b', { partitions: 2 });
  await driver.createTopic('a');
  assert.deepEqual(await driver.listTopics(), ['a', 'b']);
  assert.equal(await driver.topicExists('a'), true);
  await assert.rejects(driver.createTopic('a'), { code: 'TOPIC_EXISTS', topic: 'a' });
  await driver.deleteTopic('a');
  assert.equal(await driver.topicExists('a'), false);
  await assert.rejects(driver.openTopic('a'), { code: 'TOPIC_NOT_FOUND', topic: 'a' });
  await assert.rejects(driver.deleteTopic('a'), { code: 'TOPIC_NOT_FOUND' });
  const topic = await driver.openTopic('b');
  assert.deepEqual([topic.name, topic.partitions, topic.manager, topic.durability], ['b', 2, 'memory', 'memory']);
});

test('the functions of a topic are forgotten when it is deleted', { timeout: 60_000 }, async () => {
  const { driver } = await openFake();
  const created = async (): Promise<WeakRef<() => void>> => {
    const validator = (): void => undefined;
    await driver.createTopic('t', { validator });
    return new WeakRef(validator);
  };
  const validator = await created();
  await driver.openTopic('t');
  await driver.deleteTopic('t');
  await until(() => {
    globalThis.gc?.();
    return validator.deref() === undefined || undefined;
  });
});

test('bad names and options are refused before anything is sent', async () => {
  const { core, driver } = await openFake();
  for (const name of ['', 'a/b', '..', 'a:b', 'x'.repeat(257)]) {
    await assert.rejects(driver.createTopic(name), { code: 'INVALID_NAME' });
    await assert.rejects(driver.openTopic(name), { code: 'INVALID_NAME' });
    await assert.rejects(driver.topicExists(name), { code: 'INVALID_NAME' });
  }
  const bad = [
    { partitions: 0 },
    { partitions: 1025 },
    { durability: 'x' },
    { manager: 'x' },
    { validator: 7 },
    { validator: {} },
    { serializer: { type: 5 } },
    { retention: 5 },
    { retention: { days: 1 } },
    { retention: { ageMs: 0 } },
    { retention: { ageMs: 2 ** 43 } },
    { retention: { bytes: 0.5 } },
    { y: 1 },
  ];
  for (const options of [...bad, { manager: 'memory', durability: 'sync' }]) {
    await assert.rejects(
      driver.createTopic('t', options as never),
      { code: 'INVALID_ARGUMENT' },
      JSON.stringify(options),
    );
  }
  assert.deepEqual(core.calls, []);
});

test('over several servers: reserved on the arbiter, made on the owners, then visible', async () => {
  const { core, driver } = await openFake(3);
  await driver.createTopic('t', { partitions: 4 });
  const steps = core.calls.filter((call) => call.startsWith('topicPut'));
  assert.equal(steps[0], 'topicPut 0 creating');
  assert.equal(steps.at(-1), 'topicPut 0 active');
  assert.deepEqual(steps.slice(1, -1).sort(), ['topicPut 1 active', 'topicPut 2 active']);
  const entry = core.catalogues[0]?.[0] as NativeTopicEntry;
  const owners = entry.placement.map((uuid) => Number(uuid));
  assert.equal(owners.length, 4);
  const roundRobin = owners.map((_, partition) => ((owners[0] as number) + partition) % 3);
  assert.deepEqual(owners, roundRobin);
  const { partitions } = await (await driver.openTopic('t')).describe();
  assert.deepEqual(
    partitions.map(({ partition, nextId }) => [partition, nextId]),
    [0, 1, 2, 3].map((p) => [p, 0n]),
  );
  core.calls.length = 0;
  await driver.deleteTopic('t');
  assert.deepEqual(core.calls[1], 'topicPut 0 deleting');
  assert.equal(core.calls.at(-1), 'topicRemove 0');
  assert.deepEqual(core.catalogues, [[], [], []]);
});

test('a create that fails half way leaves nothing, and its own error', async () => {
  const { core, driver } = await openFake(2);
  core.refusals.set('topicPut 1 active', { code: 'NO_SPACE', message: 'full' });
  await assert.rejects(driver.createTopic('t', { partitions: 2 }), { code: 'NO_SPACE', retryable: true });
  assert.deepEqual(core.catalogues, [[], []]);
  await driver.createTopic('t', { partitions: 2 });
});

test('what a crashed create or delete left is invisible, and cleaned by the next create', async () => {
  const { core, driver } = await openFake(2);
  await driver.createTopic('t', { partitions: 2 });
  for (const state of ['creating', 'deleting'] as const) {
    const [left] = core.catalogues[0] as [NativeTopicEntry];
    core.catalogues[0] = [{ ...left, state }];
    assert.deepEqual(await driver.listTopics(), []);
    await assert.rejects(driver.openTopic('t'), { code: 'TOPIC_NOT_FOUND' });
    await driver.createTopic('t', { partitions: 2 });
    const uuids = core.catalogues.map((entries) => entries.map(({ uuid }) => uuid));
    assert.equal(uuids[0]?.length, 1);
    assert.deepEqual(uuids[0], uuids[1]);
    assert.notEqual(uuids[0]?.[0], left.uuid);
  }
});

test('completing: the owners first, then visible; again after a crash between them; the name stays taken', async () => {
  const { core, driver } = await openFake(3);
  await driver.createTopic('t', { partitions: 3 });
  const topic = await driver.openTopic('t');
  assert.equal((await topic.describe()).state, 'active');
  core.calls.length = 0;
  core.refusals.set('topicPut 2 complete', { code: 'CONNECTION_LOST', message: 'gone' });
  await assert.rejects(driver.completeTopic('t'), { code: 'CONNECTION_LOST', retryable: true });
  assert.equal((await topic.describe()).state, 'active');
  await driver.completeTopic('t');
  await driver.completeTopic('t');
  const puts = core.calls.filter((call) => call.startsWith('topicPut'));
  assert.deepEqual(
    [puts.slice(0, 2), puts.slice(2, 5), puts.at(-1)],
    [
      ['topicPut 1 complete', 'topicPut 2 complete'],
      ['topicPut 1 complete', 'topicPut 2 complete', 'topicPut 0 complete'],
      'topicPut 0 complete',
    ],
  );
  assert.equal((await topic.describe()).state, 'complete');
  assert.deepEqual(await driver.listTopics(), ['t']);
  await assert.rejects(driver.createTopic('t'), { code: 'TOPIC_EXISTS' });
  await assert.rejects(driver.completeTopic('u'), { code: 'TOPIC_NOT_FOUND', topic: 'u' });
  await driver.deleteTopic('t');
  await driver.createTopic('t');
  await assert.rejects(topic.describe(), { code: 'TOPIC_NOT_FOUND' });
});

test('adding partitions: all or nothing, spread on, and taken up again after a crash half way', async () => {
  const { core, driver } = await openFake(3);
  await driver.createTopic('t', { partitions: 2 });
  const entryOf = (server: number): NativeTopicEntry | undefined => core.catalogues[server]?.[0];
  const { placement } = entryOf(0) as NativeTopicEntry;
  core.calls.length = 0;
  core.refusals.set('topicPut 2 active', { code: 'NO_SPACE', message: 'full' });
  await assert.rejects(driver.addPartitions('t', 5), { code: 'NO_SPACE' });
  assert.equal((await driver.openTopic('t')).partitions, 2);
  assert.equal(entryOf(1)?.partitions, 5);
  await driver.addPartitions('t', 4);
  const puts = core.calls.filter((call) => call.startsWith('topicPut'));
  assert.equal(puts.at(-1), 'topicPut 0 active', 'visible last');
  const extended = entryOf(0) as NativeTopicEntry;
  assert.deepEqual(extended.placement.slice(0, 2), placement);
  const owners = extended.placement.map((uuid) => Number(uuid));
  assert.deepEqual(
    owners,
    owners.map((_, partition) => ((owners[0] as number) + partition) % 3),
  );
  assert.equal((await driver.openTopic('t')).partitions, 4);
  for (const wrong of [4, 3, 1, 1025, 4.5, undefined]) {
    await assert.rejects(driver.addPartitions('t', wrong as number), { code: 'INVALID_ARGUMENT' }, `${wrong}`);
  }
  await assert.rejects(driver.addPartitions('u', 4), { code: 'TOPIC_NOT_FOUND' });
  const partitionSelector = { type: 'range', path: 'n', bounds: [5] } as const;
  await driver.createTopic('bounded', { partitions: 2, partitionSelector });
  await assert.rejects(driver.addPartitions('bounded', 4), { code: 'INVALID_ARGUMENT', message: /2 partitions/ });
});

test('what an attempt to add partitions left does not keep the name from being made again', async () => {
  const { core, driver } = await openFake(3);
  await driver.createTopic('t');
  core.refusals.set('topicPut 0 active', { code: 'NO_SPACE', message: 'full' });
  await assert.rejects(driver.addPartitions('t', 5), { code: 'NO_SPACE' });
  await driver.deleteTopic('t');
  assert.ok(
    core.catalogues.some((entries) => entries.length > 0),
    'left behind',
  );
  await driver.createTopic('t', { partitions: 3 });
  const uuids = core.catalogues.map((entries) => entries.map(({ uuid }) => uuid));
  assert.deepEqual(uuids, Array(3).fill([(await driver.openTopic('t')).uuid]));
});

test('a lost server is looked up in the group file again', async (t) => {
  const core = new FakeCore();
  installBinding(core.binding());
  const path = join(await temporaryDirectory(t), 'group.json');
  const entry = { uuid: core.uuid(0), index: 0, address: '127.0.0.1:1', providers: [] };
  await writeFile(path, formatGroup([entry]));
  const driver = await Driver.open({ driver: 'fabric', groupFile: path });
  const lose = (): void => {
    core.complete(CompletionKind.ServerLost, 1, 0, 1, 0, { code: 'CONNECTION_LOST', message: 'x' });
    core.drain();
  };
  lose();
  assert.equal(driver.info.servers[0]?.connected, false);
  await writeFile(path, formatGroup([{ ...entry, address: '127.0.0.1:2' }]));
  lose();
  lose();
  assert.deepEqual(
    core.calls.filter((call) => call.startsWith('setAddress')),
    ['setAddress 0 127.0.0.1:2'],
  );
  core.complete(CompletionKind.ServerUp, 1, 0, 0, 0, undefined);
  core.drain();
  assert.deepEqual(driver.info.servers[0], {
    index: 0,
    uuid: core.uuid(0),
    address: '127.0.0.1:2',
    connected: true,
    provider: 'local',
  });
});

test('how to open is checked', async (t) => {
  installBinding(new FakeCore().binding());
  const missing = join(await temporaryDirectory(t), 'none');
  const bad: [object, string][] = [
    [{ driver: 'kafka' }, 'INVALID_ARGUMENT'],
    [{ driver: 'fabric' }, 'INVALID_ARGUMENT'],
    [{ driver: 'fabric', servers: [] }, 'INVALID_ARGUMENT'],
    [{ driver: 'fabric', servers: ['nowhere'] }, 'INVALID_ARGUMENT'],
    [{ driver: 'fabric', groupFile: missing, servers: ['a:1'] }, 'INVALID_ARGUMENT'],
    [{ driver: 'fabric', groupFile: missing }, 'GROUP_FILE'],
    [{ groupFile: missing }, 'INVALID_ARGUMENT'],
    [{ data: '' }, 'INVALID_ARGUMENT'],
    [{ data: join(import.meta.filename, 'below') }, 'NOT_WRITABLE'],
    [{ zeroCopyThreshold: 0 }, 'INVALID_ARGUMENT'],
  ];
  for (const [options, code] of bad)
    await assert.rejects(Driver.open(options as never), { code }, JSON.stringify(options));
});

test('drivers on one directory share its server, which stops with the last of them', async (t) => {
  const core = new FakeCore();
  installBinding(core.binding());
  const data = await temporaryDirectory(t);
  const drivers = await Promise.all([Driver.open({ data }), Driver.open({ data: `${data}/.` })]);
  assert.equal(core.calls.filter((call) => call === 'serverStart').length, 1);
  await drivers[0].close();
  assert.equal(core.calls.includes('serverStop'), false);
  await drivers[1].destroy();
  await drivers[1].close();
  assert.equal(core.calls.filter((call) => call === 'serverStop').length, 1);
  await assert.rejects(drivers[0].listTopics(), { code: 'INVALID_STATE' });
  await (await Driver.open({ data })).close();
  assert.equal(core.calls.filter((call) => call === 'serverStart').length, 2);
});
