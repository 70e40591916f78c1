/**
 * Three hosts: servers on two, producer and consumer on the third; the cable of one is taken out for a while.
 * DIASPORA_CUT_SECONDS: the cuts to try, with commas (default 0.1,5; 60 s is long enough for every deadline to pass).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ConsumerProgramOptions } from '../programs/consumer.js';
import type { ProducerProgramOptions } from '../programs/producer.js';
import { providerName } from '../support/backends.js';
import { type Host, makeHosts, whyNoHosts } from '../support/hosts.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const cuts = (process.env['DIASPORA_CUT_SECONDS'] ?? '0.1,5').split(',').map(Number);
const cli = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
const skip = whyNoHosts();
if (skip !== undefined) process.stderr.write(`\n*** test/hosts is SKIPPED: ${skip} ***\n\n`);

for (const [index, seconds] of cuts.entries()) {
  for (const whose of ['the clients', 'a server'] as const) {
    const title = `${whose} cut off for ${seconds} s: every event arrives once, in order`;
    test(title, { skip: skip ?? false, timeout: (seconds + 120) * 1000 }, async (t) => {
      const directory = await temporaryDirectory(t);
      const [one, two, third] = makeHosts(t, 3) as [Host, Host, Host];
      const groupFile = join(directory, 'group.json');
      const provider = await providerName('tcp');
      for (const host of [one, two]) {
        const listen = 'tcp://10.99.0.0/24:0';
        const data = join(directory, host.address);
        await startServer(t, { data, groupFile, provider, listen, insecure: true }, host.node);
      }
      const create = ['topic', 'create', 't', '--partitions', '2', '--durability', 'os', '--group-file', groupFile];
      const [command = '', ...args] = [...third.node, cli, ...create, '--provider', provider];
      const created = spawnSync(command, args, { encoding: 'utf8' });
      assert.equal(created.status, 0, created.stderr);

      // Two seconds of work around the cut.
      const events = 2000 + index;
      const common = {
        groupFile,
        provider,
        topic: 't',
        dataBytes: 100_000,
        reconnectTimeoutMs: 180_000,
        announces: true,
      };
      const reader: ConsumerProgramOptions = { ...common, name: 'c', partitions: [0, 1], events };
      const writer: ProducerProgramOptions = { ...common, who: 0, events, rate: 1000 };
      const consumer = Program.start(t, 'consumer', reader, third.node);
      const producer = Program.start(t, 'producer', writer, third.node);
      assert.equal(await consumer.message(), 'connected');
      assert.equal(await producer.message(), 'connected');
      await sleep(500);
      const cut = whose === 'a server' ? two : third;
      cut.cable('out');
      await sleep(seconds * 1000);
      cut.cable('in');
      assert.deepEqual(await producer.message(), { pushed: events, acknowledged: events, errors: 0 });
      assert.deepEqual(await consumer.message(), { seen: events, wrong: [] });
      assert.deepEqual(await producer.exited, { code: 0, signal: null });
      assert.deepEqual(await consumer.exited, { code: 0, signal: null });
    });
  }
}
