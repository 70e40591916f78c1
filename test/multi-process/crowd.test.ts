/**
 * Many client processes at once, each with four consumers on one driver: all are served, and a server needs one session
 * for each of them and a bounded amount of memory. DIASPORA_CROWD: client processes (default 8; a node of a cluster has
 * hundreds of ranks).
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Driver } from '../../lib/index.js';
import { providerName } from '../support/backends.js';
import { pattern } from '../support/pattern.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const crowd = Number(process.env['DIASPORA_CROWD'] ?? 8);
const events = 20;
/** Starting so many at once keeps the processors busy without starving anybody. */
const startedAtOnce = 16;
const mib = 2 ** 20;
const memoryBytes = 128 * mib;
/** Measured with 256 clients: 0.7 MiB, of which 260 KiB are the domain of its own that a session has on tcp. */
const bytesPerSession = mib;
const processBytes = 150 * mib;
/** What each member tells. */
const served = { seen: [events, events, events, events], wrong: 0 };

test(`${crowd} processes with 4 consumers each are served by 2 servers`, { timeout: 600_000 }, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = await providerName('tcp');
  const start = (name: string): ReturnType<typeof startServer> =>
    startServer(t, { data: join(directory, name), groupFile, provider, memoryBytes });
  const servers = [await start('s0'), await start('s1')];
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  await driver.createTopic('t', { partitions: 2, durability: 'os' });
  const producer = (await driver.openTopic('t')).producer();
  for (let n = 0; n < events; n += 1) producer.push({ n }, pattern(n, 100_000), { partition: n % 2 });
  await producer.close();
  await driver.close();

  const members: Program[] = [];
  for (let who = 0; who < crowd; who += 1) {
    members.push(Program.start(t, 'crowd-member', { groupFile, provider, topic: 't', who, events }));
    if (members.length % startedAtOnce !== 0) continue;
    for (const member of members.slice(-startedAtOnce)) assert.deepEqual(await member.message(), served);
  }
  for (const member of members.slice(crowd - (crowd % startedAtOnce))) assert.deepEqual(await member.message(), served);
  // All are connected now.
  for (const server of servers) {
    const resident = await server.memory();
    t.diagnostic(`server: ${Math.round(resident / mib)} MiB resident with ${crowd} clients`);
    assert.ok(resident < processBytes + memoryBytes + crowd * bytesPerSession, `${resident} bytes resident`);
  }
  for (const member of members) void member.ask('end').catch(() => undefined);
  for (const member of members) assert.deepEqual(await member.exited, { code: 0, signal: null });
  for (const server of servers) await server.close();
});
