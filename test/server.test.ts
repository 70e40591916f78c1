import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Driver, fullData, Server } from '../lib/index.js';
import { startServer } from './support/server-process.js';
import { temporaryDirectory } from './support/temporary.js';

test('a server keeps its place in the group file when it comes back; one in memory leaves', async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const data = join(directory, 'data');
  const first = await Server.start({ data, groupFile });
  const memory = await Server.start({ groupFile });
  assert.deepEqual([first.index, memory.index], [0, 1]);
  const driver = await Driver.open({ driver: 'fabric', groupFile });
  assert.deepEqual(
    driver.info.servers.map(({ uuid }) => uuid),
    [first.uuid, memory.uuid],
  );
  await driver.close();
  await memory.close();
  await first.close();
  await first.close();
  const again = await Server.start({ data, groupFile });
  assert.deepEqual([again.index, again.uuid], [0, first.uuid]);
  const { servers } = JSON.parse(await readFile(groupFile, 'utf8')) as { servers: { address: string }[] };
  assert.deepEqual(
    servers.map(({ address }) => address),
    [again.address],
  );
  await again.close();
});

test('a directory has one server, in whichever process', async (t) => {
  const data = join(await temporaryDirectory(t), 'data');
  const server = await startServer(t, { data });
  await assert.rejects(Server.start({ data }), { code: 'DIRECTORY_LOCKED', path: data });
  await assert.rejects(Driver.open({ data }), { code: 'DIRECTORY_LOCKED' });
  await server.kill();
  await (await Driver.open({ data })).close();
  await (await Server.start({ data })).close();
});

test('what cannot be started says why', async (t) => {
  const directory = await temporaryDirectory(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const file = join(directory, 'file');
  await writeFile(file, 'precious');
  const cases: [object, string][] = [
    [{ listen: `tcp://127.0.0.1:${port}` }, 'ADDRESS_IN_USE'],
    [{ listen: 'tcp://0.0.0.0:0', advertise: 'localhost' }, 'INVALID_ARGUMENT'],
    [{ listen: 'tcp://0.0.0.0:0', insecure: true }, 'INVALID_ARGUMENT'],
    [{ listen: 'nowhere' }, 'INVALID_ARGUMENT'],
    [{ data: join(file, 'below') }, 'NOT_WRITABLE'],
    [{ groupFile: file }, 'GROUP_FILE'],
    [{ provider: 'no-such-provider' }, 'PROVIDER_UNAVAILABLE'],
    [{ provider: 'tcp', domain: 'no-such-domain' }, 'PROVIDER_UNAVAILABLE'],
    [{ domain: 'lo,,eth0' }, 'INVALID_ARGUMENT'],
    [{ port: 1 }, 'INVALID_ARGUMENT'],
  ];
  for (const [options, code] of cases) await assert.rejects(Server.start(options), { code }, JSON.stringify(options));
});

test('what clients could not read as a host is not advertised', async (t) => {
  const groupFile = join(await temporaryDirectory(t), 'group.json');
  for (const advertise of ['tcp://127.0.0.1', '127.0.0.1:7000', 'host:7000', '[::1]', 'a/b', '']) {
    await assert.rejects(Server.start({ groupFile, advertise }), { code: 'INVALID_ARGUMENT', message: /^advertise / });
  }
  assert.equal(existsSync(groupFile), false);
  const server = await Server.start({ groupFile, advertise: 'localhost' });
  assert.equal(server.address, `localhost:${server.port}`);
  await (await Driver.open({ driver: 'fabric', groupFile })).close();
  await server.close();
});

test('both sides may name the domain, in two ways; a wrong name is told which there are', async (t) => {
  const server = await Server.start({ provider: 'tcp', domain: 'lo' });
  t.after(() => server.close());
  const common = { driver: 'fabric', servers: [server.address] } as const;
  for (const options of [{ provider: 'tcp', domain: 'lo' }, { provider: 'no-such-provider,tcp@lo' }]) {
    const driver = await Driver.open({ ...common, ...options });
    assert.deepEqual(await driver.listTopics(), []);
    await driver.close();
  }
  await assert.rejects(Driver.open({ ...common, provider: 'tcp', domain: 'eth' }), {
    code: 'PROVIDER_UNAVAILABLE',
    message: /no domain 'eth'; there are:.* lo/,
  });
});

const hasIpv6 = networkInterfaces()['lo']?.some(({ address }) => address === '::1') === true;

test('IPv6 carries events like IPv4', { skip: hasIpv6 ? false : 'no IPv6 here' }, async (t) => {
  const server = await Server.start({ provider: 'tcp', listen: 'tcp://[::1]:0' });
  t.after(() => server.close());
  assert.match(server.address, /^\[::1\]:\d+$/);
  const driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider: 'tcp' });
  await driver.createTopic('t');
  const topic = await driver.openTopic('t');
  assert.equal(await topic.producer().push('{}', new Uint8Array(200_000).fill(3)), 0n);
  const event = await topic.consumer({ name: 'reader', dataSelector: fullData }).pull();
  assert.ok(event.data.length === 200_000 && event.data.every((byte) => byte === 3));
  assert.equal(driver.counters().dataBytesCopied, 0);
  await driver.close();
});

test('several domains are rails: a connection through each, and each carries its share of the partitions', async (t) => {
  const server = await Server.start({ provider: 'tcp', domain: 'lo,lo' });
  t.after(() => server.close());
  const driver = await Driver.open({ driver: 'fabric', servers: [server.address], provider: 'tcp', domain: 'lo,lo' });
  assert.equal(server.counters().sessions, 2);
  await driver.createTopic('t', { partitions: 4 });
  const topic = await driver.openTopic<{ n: number }>('t');
  const producer = topic.producer();
  for (let n = 0; n < 40; n += 1) producer.push({ n }, new Uint8Array(100_000).fill(n), { partition: n % 4 });
  await producer.flush();
  const consumer = topic.consumer({ name: 'reader', dataSelector: fullData });
  const seen = new Map<number, number[]>();
  for (let left = 40; left > 0; left -= 1) {
    const { partition, metadata, data } = await consumer.pull();
    assert.ok(data.every((byte) => byte === metadata.n));
    seen.set(partition, [...(seen.get(partition) ?? []), metadata.n]);
  }
  for (const [partition, numbers] of seen) {
    assert.deepEqual(
      numbers,
      Array.from({ length: 10 }, (_, i) => 4 * i + partition),
    );
  }
  await driver.close();
});

test('a server that cannot be reached is CONNECT_TIMEOUT, and the message has its address', async () => {
  const silent = createServer((socket) => socket.on('error', () => undefined).resume());
  silent.listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const { port } = silent.address() as { port: number };
  const open = (address: string): Promise<Driver> =>
    Driver.open({ driver: 'fabric', servers: [address], connectTimeoutMs: 200 });
  await assert.rejects(open(`127.0.0.1:${port}`), {
    code: 'CONNECT_TIMEOUT',
    message: new RegExp(`127.0.0.1:${port}`),
  });
  silent.close();
  await new Promise((resolve) => silent.once('close', resolve));
  await assert.rejects(open(`127.0.0.1:${port}`), {
    code: 'CONNECT_TIMEOUT',
    message: new RegExp(`127.0.0.1:${port}`),
  });
});
