/** The command line as a user meets it: real processes, real servers, exit codes and lines. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, Server, type TopicHandle } from '../../lib/index.js';
import { failInOneLine, linesOf, type Outcome, place, run, start, succeed, textOf } from '../support/command-line.js';
import { until } from '../support/pipes.js';

const commands = [
  'serve',
  'wait',
  'produce',
  'consume',
  'info',
  'consumer',
  'consumer list',
  'consumer lag',
  'consumer reset',
  'forward',
  'fifo',
  'bench',
  'bench producer',
  'bench consumer',
  'topic',
  'topic create',
  'topic list',
  'topic describe',
  'topic add-partitions',
  'topic complete',
  'topic delete',
];

for (const command of commands) {
  test(`${command} --help shows examples`, async () => {
    const lines = await succeed([...command.split(' '), '--help']);
    assert.ok(lines.some((line) => /^Examples?:$/.test(line)));
    assert.ok(lines.some((line) => line.includes(`$ diaspora ${command}`)));
  });
}

test('wrong usage ends with code 2', async () => {
  for (const args of [
    ['nonsense'],
    ['consume'],
    ['serve', '--memory', 'much'],
    ['topic', 'create', 'x', '--partitions', '0'],
    ['wait', '--timeout', '0', '--group-file', 'missing.json'],
    ['consume', 'x', '--idle-timeout', '9999999999', '--data', 'empty'],
    ['topic', 'list', '--connect-timeout', '0', '--group-file', 'missing.json'],
  ]) {
    const { code, stderr } = await run(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, /^error: /);
  }
});

test('errors are one line that says what to do', async () => {
  await failInOneLine(['topic', 'list'], /--group-file .*--server .*--data/);
  await failInOneLine(['topic', 'list', '--group-file', 'missing.json'], /missing\.json.*\[GROUP_FILE\]/);
  await failInOneLine(['consume', 'nothing', '--data', 'empty'], /nothing.*\[TOPIC_NOT_FOUND\]/);
  await failInOneLine(['topic', 'create', 'a/b', '--data', 'empty'], /\[INVALID_NAME\]/);
  await failInOneLine(
    ['serve', '--listen', 'tcp://0.0.0.0:0', '--advertise', 'localhost'],
    /insecure.*\[INVALID_ARGUMENT\]/,
  );
});

test('a directory is enough: create, produce lines, consume, list, describe, delete', async () => {
  const where = ['--data', 'embedded'];
  await succeed(['topic', 'create', 'notes', ...where]);
  await succeed(['produce', 'notes', ...where], '{"n":1}\n\n{"n":2}\n');
  const events = (await succeed(['consume', 'notes', '--json', '--max', '2', ...where])).map((line) =>
    JSON.parse(line),
  );
  assert.deepEqual(events, [
    { partition: 0, id: 0, metadata: { n: 1 }, bytes: 0 },
    { partition: 0, id: 1, metadata: { n: 2 }, bytes: 0 },
  ]);
  assert.deepEqual(await succeed(['topic', 'list', ...where]), ['notes']);
  assert.ok((await succeed(['topic', 'describe', 'notes', ...where])).some((line) => line.includes('2 events')));
  await succeed(['topic', 'delete', 'notes', ...where]);
  assert.deepEqual(await succeed(['topic', 'list', ...where]), []);
});

test('a bad line ends the command, and what came before it is stored', async () => {
  const where = ['--data', 'badline'];
  await succeed(['topic', 'create', 'notes', ...where]);
  await failInOneLine(
    ['produce', 'notes', ...where],
    /line 2 is not JSON: .*; stored 1 event in notes/,
    '{"n":1}\n{"n":\n{"n":3}\n',
  );
  const events = await succeed(['consume', 'notes', '--json', '--idle-timeout', '200', ...where]);
  assert.equal(events.length, 1);
});

/** The topic `notes` in memory, behind a server of this process. */
async function serveNotes(t: TestContext): Promise<{ where: string[]; topic: TopicHandle; driver: Driver }> {
  const server = await Server.start();
  t.after(() => server.close());
  const driver = await Driver.open({ driver: 'fabric', servers: [server.address] });
  t.after(() => driver.close());
  await driver.createTopic('notes');
  return { where: ['--server', server.address], topic: await driver.openTopic('notes'), driver };
}

test('produce ends with the first event that is refused, says which, and how many were stored', async () => {
  const where = ['--data', 'refused'];
  await succeed(['topic', 'create', 'numbers', '--validator', 'schema', '--validator.schema.type', 'number', ...where]);
  const produced = ['produce', 'numbers', ...where];
  const refused = /^diaspora: line 2 was not stored: .*; stored 1 event in numbers \[INVALID_METADATA\]$/m;
  await failInOneLine(produced, refused, '1\n"two"\n3\n');
  await succeed(['topic', 'create', 'texts', ...where]);
  const tooLarge = /line 2 was not stored: .*; stored 1 event in texts \[EVENT_TOO_LARGE\]$/m;
  await failInOneLine(['produce', 'texts', ...where], tooLarge, `1\n"${'x'.repeat(1_100_000)}"\n3\n`);
  const missing = /missing\.raw.*; stored 0 events in texts/;
  await failInOneLine(['produce', 'texts', 'missing.raw', ...where], missing);
  await succeed(['topic', 'complete', 'texts', ...where]);
  const complete = /line 1 was not stored: .*; stored 0 events in texts \[TOPIC_COMPLETE\]$/m;
  await failInOneLine(['produce', 'texts', ...where], complete, '1\n2\n');
});

test('produce ends with an event that is refused while its input is open', async (t) => {
  const { where, driver } = await serveNotes(t);
  await driver.completeTopic('notes');
  const producer = start(['produce', 'notes', ...where]);
  const told = textOf(producer.stderr!);
  producer.stdin!.write('1\n');
  assert.deepEqual(await once(producer, 'exit'), [1, null]);
  assert.match(await told, /^diaspora: line 1 was not stored: .* \[TOPIC_COMPLETE\]\n$/);
});

test('produce waits for room where the driver is full, also for what alone is more than its limit', async () => {
  const where = ['--data', 'room', '--driver.pending_bytes_max', '601000'];
  await succeed(['topic', 'create', 'notes', ...where]);
  const sizes = [300_000, 300_000, 300_000, 900_000, 300_000, 300_000];
  const files = sizes.map((size, n) => {
    writeFileSync(join(place, `room-${n}`), new Uint8Array(size).fill(n));
    return `room-${n}`;
  });
  const { code, stderr } = await run(['produce', 'notes', ...files, ...where]);
  assert.deepEqual([code, stderr], [0, 'stored 6 events in notes\n']);
  const lines = await succeed(['consume', 'notes', '--json', '--max', '6', ...where]);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).metadata.size),
    sizes,
  );
});

test('Ctrl-C ends produce while its input is open, and what it has read is stored', async (t) => {
  const { where, topic } = await serveNotes(t);
  const producer = start(['produce', 'notes', ...where]);
  const told = textOf(producer.stderr!);
  producer.stdin!.write('1\n2\n');
  const consumer = topic.consumer({ name: 'reader' });
  assert.deepEqual([(await consumer.pull()).metadata, (await consumer.pull()).metadata], [1, 2]);
  producer.kill('SIGINT');
  assert.deepEqual(await once(producer, 'exit'), [0, null]);
  assert.equal(await told, 'stored 2 events in notes\n');
});

test('a named consumer goes on where it stopped', async () => {
  const where = ['--data', 'named'];
  await succeed(['topic', 'create', 'notes', ...where]);
  await succeed(['produce', 'notes', ...where], '1\n2\n3\n');
  const take = ['consume', 'notes', '--name', 'reader', '--json', '--max', '1', ...where];
  const metadataOf = (lines: string[]): unknown[] => lines.map((line) => JSON.parse(line).metadata);
  assert.deepEqual(metadataOf(await succeed(take)), [1]);
  assert.deepEqual(metadataOf(await succeed(take)), [2]);
  assert.deepEqual(
    metadataOf(await succeed(['consume', 'notes', '--from', '2', '--json', '--max', '1', ...where])),
    [3],
  );
});

test('a server: files go in and come out byte by byte, Ctrl-C stops everything cleanly', async () => {
  const group = ['--group-file', 'group.json'];
  const server = start(['serve', '--data', 'served', '--json', ...group]);
  const lines = createInterface({ input: server.stdout! })[Symbol.asyncIterator]();
  try {
    const ready = JSON.parse((await lines.next()).value);
    assert.match(ready.address, /^127\.0\.0\.1:\d+$/);
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
    writeFileSync(join(place, 'picture.raw'), bytes);
    await succeed(['topic', 'create', 'files', '--partitions', '2', ...group]);
    await succeed(['produce', 'files', 'picture.raw', '--partition', '1', ...group]);
    const [line] = await succeed(['consume', 'files', '--out', 'received', '--json', '--max', '1', ...group]);
    const event = JSON.parse(line!);
    assert.deepEqual(event.metadata, { name: 'picture.raw', size: 300_000 });
    assert.equal(event.partition, 1);
    assert.ok(readFileSync(join(place, event.file)).equals(bytes));

    const consumer = start(['consume', 'files', '--json', ...group]);
    await once(consumer.stdout!, 'data');
    consumer.kill('SIGINT');
    assert.deepEqual(await once(consumer, 'exit'), [0, null]);
  } finally {
    server.kill('SIGINT');
  }
  assert.ok(JSON.parse((await lines.next()).value).counters.dataBytesByRma >= 300_000);
  assert.deepEqual(await once(server, 'exit'), [0, null]);
});

test('a server whose output nobody reads any more stops in order', async () => {
  const [readyFile, groupFile] = [join(place, 'unread-ready'), join(place, 'unread-group.json')];
  const server = start(['serve', '--ready-file', readyFile, '--group-file', groupFile]);
  await until(() => existsSync(readyFile) || undefined);
  server.stdout!.destroy();
  server.stderr!.destroy();
  server.kill('SIGINT');
  assert.deepEqual(await once(server, 'exit'), [0, null]);
  assert.equal(existsSync(readyFile), false);
  assert.deepEqual(JSON.parse(readFileSync(groupFile, 'utf8')).servers, []);
});

test('output that cannot be written is an error of one line', async () => {
  const where = ['--data', 'full'];
  await succeed(['topic', 'create', 'notes', ...where]);
  const full = openSync('/dev/full', 'w');
  const list = start(['topic', 'list', ...where], {}, full);
  const told = textOf(list.stderr!);
  assert.deepEqual(await once(list, 'exit'), [1, null]);
  assert.match(await told, /^diaspora: ENOSPC: .*\n$/);
  closeSync(full);
});

test('servers of a group wait for each other, write their ready files, and scripts wait for them', async () => {
  const group = ['--group-file', 'ready-group.json'];
  const waiting = run(['wait', ...group, '--servers', '2', '--timeout', '30000']);
  const serve = (name: string): ChildProcess =>
    start([
      'serve',
      '--listen',
      'tcp://lo:0',
      '--provider',
      'shm,net',
      '--wait-for',
      '2',
      '--ready-file',
      name,
      ...group,
    ]);
  writeFileSync(join(place, 'one.ready'), 'of a server that was killed');
  const one = serve('one.ready');
  while (!existsSync(join(place, 'ready-group.json'))) await sleep(20);
  assert.equal(existsSync(join(place, 'one.ready')), false, 'not ready alone');
  const two = serve('two.ready');
  const { code, stdout, stderr } = await waiting;
  assert.equal(code, 0, stderr);
  assert.equal(linesOf(stdout).length, 2);
  for (const name of ['one.ready', 'two.ready']) {
    while (!existsSync(join(place, name))) await sleep(20);
    const { address } = JSON.parse(readFileSync(join(place, name), 'utf8')) as { address: string };
    assert.ok(stdout.includes(address));
  }
  assert.deepEqual(await succeed(['topic', 'list', '--wait-for', '2', ...group]), []);
  await failInOneLine(
    ['wait', ...group, '--servers', '3', '--timeout', '200'],
    /3 servers .* it names 2 \[CONNECT_TIMEOUT\]/,
  );
  for (const server of [one, two]) {
    server.kill('SIGTERM');
    assert.deepEqual(await once(server, 'exit'), [0, null]);
  }
  assert.equal(existsSync(join(place, 'one.ready')), false);
  const lonely = start(['serve', '--wait-for', '2', '--group-file', 'lonely.json', '--provider', 'net']);
  while (!existsSync(join(place, 'lonely.json'))) await sleep(20);
  lonely.kill('SIGINT');
  assert.deepEqual(await once(lonely, 'exit'), [0, null]);
});

test('topic create and list: none, several, one that is there already, and what is missing', async () => {
  const where = ['--data', 'several'];
  assert.deepEqual(await succeed(['topic', 'list', ...where]), []);
  for (const name of ['b', 'a']) {
    assert.deepEqual(await succeed(['topic', 'create', name, '--topic.num_partitions', '2', ...where]), [
      `created ${name}: 2 partitions, sync`,
    ]);
  }
  await failInOneLine(['topic', 'create', 'a', ...where], /\[TOPIC_EXISTS\]/);
  assert.deepEqual(await succeed(['topic', 'list', ...where]), ['a', 'b']);
  assert.equal((await run(['topic', 'create', ...where])).code, 2);
});

test('topic create takes stages by name, by file and by dotted options; describe shows them', async () => {
  const data = join(place, 'staged');
  writeFileSync(
    join(place, 'energy.json'),
    '{ "type": "schema", "schema": { "type": "object", "required": ["energy"] } }',
  );
  const created = await run([
    ...['topic', 'create', 'collisions', '--data', data, '--topic.num_partitions', '2'],
    ...['--validator-config', 'energy.json', '--serializer', 'msgpack', '--partition-selector', 'range'],
    ...['--partition-selector.path', 'energy', '--partition-selector.bounds', '[50]'],
  ]);
  assert.deepEqual([created.code, created.stdout], [0, 'created collisions: 2 partitions, sync\n'], created.stderr);
  const described = await run(['topic', 'describe', 'collisions', '--data', data]);
  assert.match(described.stdout, /validator +schema \{"schema":/);
  assert.match(described.stdout, /selector +range \{"path":"energy","bounds":\[50\]\}/);
  assert.match(described.stdout, /serializer +msgpack/);
  const produced = await run(['produce', 'collisions', '--data', data], '{"energy":7}\n{"energy":70}\n');
  assert.equal(produced.code, 0, produced.stderr);
  const consumed = await run(['consume', 'collisions', '--name', 'c', '--json', '--max', '2', '--data', data]);
  const seen = consumed.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { partition: number; metadata: object });
  assert.deepEqual(seen.map(({ partition, metadata }) => [partition, metadata]).sort(), [
    [0, { energy: 7 }],
    [1, { energy: 70 }],
  ]);
  const refused = await run(['topic', 'create', 'x', '--data', data, '--colour', 'red']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /unknown option or argument '--colour'/);
});

test('forward copies by the rules of a file, and the next run goes on behind', async () => {
  const rules = [
    'drivers:',
    '  here: { driver: embedded, data: ./forward-source }',
    '  there: { type: embedded, options: { data: ./forward-target } }',
    'forward:',
    '  - { from: here/notes, to: there/copies, keepPartition: true }',
  ];
  writeFileSync(join(place, 'rules.yaml'), rules.join('\n'));
  for (const [topic, data] of [
    ['notes', 'forward-source'],
    ['copies', 'forward-target'],
  ] as const) {
    assert.equal((await run(['topic', 'create', topic, '--partitions', '2', '--data', data])).code, 0);
  }
  for (const round of [1, 2]) {
    await run(['produce', 'notes', '--data', 'forward-source'], `{"n":${round}}\n{"n":${round}0}\n`);
    const forwarded = await run(['forward', '--config', 'rules.yaml', '--idle-timeout', '300']);
    assert.equal(forwarded.code, 0, forwarded.stderr);
    assert.match(forwarded.stderr, /here\/notes -> there\/copies: 2 events/);
  }
  const seen = await run(['consume', 'copies', '--name', 'c', '--max', '4', '--data', 'forward-target']);
  assert.deepEqual(seen.stdout.trim().split('\n').sort(), [
    '0:0  {"n":1}',
    '0:1  {"n":2}',
    '1:0  {"n":10}',
    '1:1  {"n":20}',
  ]);
  writeFileSync(join(place, 'bad.yaml'), 'drivers: { a: {} }\nforward:\n  - { from: a/x, to: b/x }');
  const bad = await run(['forward', '--config', 'bad.yaml']);
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /there is no driver 'b'/);
});

test('a complete topic ends its consumers, and is shown as such', async () => {
  const where = ['--data', 'completed'];
  await succeed(['topic', 'create', 'notes', '--partitions', '2', ...where]);
  await succeed(['produce', 'notes', ...where], '1\n2\n3\n');
  assert.deepEqual(await succeed(['topic', 'complete', 'notes', ...where]), ['completed notes']);
  assert.equal((await succeed(['consume', 'notes', '--json', ...where])).length, 3);
  await failInOneLine(['produce', 'notes', ...where], /notes.*complete.*\[TOPIC_COMPLETE\]/, '4\n');
  assert.ok((await succeed(['topic', 'describe', 'notes', ...where])).includes('state       complete'));
  assert.deepEqual(await succeed(['topic', 'list', '-v', ...where]), ['notes  complete  2  log  sync']);
  await failInOneLine(['topic', 'complete', 'other', ...where], /\[TOPIC_NOT_FOUND\]/);
});

test('retention is set by options or dotted ones, and shown', async () => {
  const where = ['--data', 'retained'];
  await succeed(['topic', 'create', 'a', '--retention-age', '7d', '--retention-bytes', '1.5GiB', ...where]);
  await succeed(['topic', 'create', 'b', '--retention-age', '1h', '--topic.retention.ageMs', '90000', ...where]);
  const retentionOf = async (topic: string): Promise<unknown> =>
    JSON.parse((await succeed(['topic', 'describe', topic, '--json', ...where]))[0]!).retention;
  assert.deepEqual(await retentionOf('a'), { ageMs: 604_800_000, bytes: 1_610_612_736 });
  assert.deepEqual(await retentionOf('b'), { ageMs: 90_000 });
  const lines = await succeed(['topic', 'describe', 'a', ...where]);
  assert.ok(
    lines.includes('kept for    604800000 ms') && lines.some((line) => line.startsWith('kept up to  1.5')),
    `${lines}`,
  );
  assert.equal((await run(['topic', 'create', 'c', '--retention-age', 'long', ...where])).code, 2);
  await failInOneLine(
    ['topic', 'create', 'c', '--retention-age', '0', ...where],
    /retention\.ageMs.*\[INVALID_ARGUMENT\]/,
  );
});

test('consume --from-time begins with what was stored then; add-partitions makes room for more', async () => {
  const where = ['--data', 'timed'];
  await succeed(['topic', 'create', 'notes', ...where]);
  await succeed(['produce', 'notes', ...where], '1\n');
  const between = new Date().toISOString();
  assert.deepEqual(await succeed(['topic', 'add-partitions', 'notes', '--partitions', '2', ...where]), [
    'notes has 2 partitions',
  ]);
  await succeed(['produce', 'notes', '--partition', '1', ...where], '2\n');
  await succeed(['topic', 'complete', 'notes', ...where]);
  const seen = await succeed(['consume', 'notes', '--from-time', between, '--json', ...where]);
  assert.deepEqual(
    seen.map((line) => JSON.parse(line)),
    [{ partition: 1, id: 0, metadata: 2, bytes: 0 }],
  );
  assert.equal((await run(['consume', 'notes', '--from-time', 'noon', ...where])).code, 2);
  assert.equal((await run(['consume', 'notes', '--from-time', between, '--from', '1', ...where])).code, 2);
  await failInOneLine(['topic', 'add-partitions', 'notes', '--partitions', '9', ...where], /\[TOPIC_COMPLETE\]/);
});

test('consumer list tells how far each name has come', async () => {
  const data = join(place, 'lagging');
  await run(['topic', 'create', 'notes', '--data', data]);
  await run(['produce', 'notes', '--data', data], '{"n":1}\n{"n":2}\n{"n":3}\n');
  await run(['consume', 'notes', '--name', 'reader', '--max', '2', '--data', data]);
  const listed = await run(['consumer', 'list', 'notes', '--data', data]);
  assert.equal(listed.stdout, 'reader: lag 1\n  partition 0: next 2, lag 1\n', listed.stderr);
  const none = await run(['consumer', 'list', 'notes', '--name', 'nobody', '--json', '--data', data]);
  assert.equal(none.stdout, '[]\n');
});

test('consumer lag is one number; consumer reset sets a consumer back', async () => {
  const data = join(place, 'reset');
  await run(['topic', 'create', 'notes', '--partitions', '2', '--data', data]);
  await run(['produce', 'notes', '--data', data], '{"n":0}\n{"n":1}\n{"n":2}\n{"n":3}\n');
  const lag = async (): Promise<string> => (await run(['consumer', 'lag', 'notes', 'reader', '--data', data])).stdout;
  assert.equal(await lag(), '4\n');
  await run(['consume', 'notes', '--name', 'reader', '--max', '4', '--data', data]);
  assert.equal(await lag(), '0\n');
  const reset = ['consumer', 'reset', 'notes', 'reader', '--data', data];
  assert.deepEqual(await run([...reset, '--to', '1', '--partition', '1']), {
    code: 0,
    stdout: 'reader: reset to 1\n',
    stderr: '',
  });
  assert.equal(await lag(), '1\n');
  await run([...reset, '--to', 'beginning']);
  assert.equal(await lag(), '4\n');
  await failInOneLine([...reset, '--to', '3'], /OFFSET_OUT_OF_RANGE|is not kept|newer/);
  assert.equal((await run([...reset, '--to', 'yesterday'])).code, 2);
});

test('bench stores and reads; interest and selectivity move only what they say', async () => {
  const data = join(place, 'benched');
  await run(['topic', 'create', 'b', '--partitions', '2', '--data', data, '--durability', 'os']);
  const stored = await run([
    'bench',
    'producer',
    'b',
    '-n',
    '200',
    '-s',
    '1000',
    '-m',
    '64',
    '-b',
    '7',
    '--json',
    '--data',
    data,
  ]);
  assert.equal(stored.code, 0, stored.stderr);
  assert.deepEqual(pick(stored), [200, 200_000]);
  const read = async (...options: string[]): Promise<[number, number]> =>
    pick(await run(['bench', 'consumer', 'b', '-n', '1000', '--json', '--data', data, ...options]));
  assert.deepEqual(await read(), [200, 200_000]);
  assert.deepEqual(await read('-i', '0.1', '-s', '0.5'), [200, 10_000]);
  assert.deepEqual(await read('-i', '0'), [200, 0]);
  const text = await run(['bench', 'consumer', 'b', '-n', '10', '--data', data]);
  assert.match(text.stdout, /^read 10 events in .* events\/s\ndata: /);
  assert.equal((await run(['bench', 'consumer', 'b', '-i', '2', '--data', data])).code, 2);
});

function pick({ stdout }: Outcome): [number, number] {
  const { events, dataBytes } = JSON.parse(stdout) as { events: number; dataBytes: number };
  return [events, dataBytes];
}
