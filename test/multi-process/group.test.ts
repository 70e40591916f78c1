/**
 * A consumer group over processes: one member is killed, one is added, and every event is processed. DIASPORA_SCALE
 * multiplies the number of events (default 1: 25,000; 40: a million). The time until others have a killed member's
 * partitions is reported, and has no bound here.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Driver } from '../../lib/index.js';
import type { MemberMessage, MemberProgramOptions } from '../programs/member.js';
import type { ProducerProgramOptions } from '../programs/producer.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const events = 25_000 * Number(process.env['DIASPORA_SCALE'] ?? 1);
const partitions = 6;

/** Members of one group, and what they have processed. */
class Members {
  readonly processed = Array.from({ length: partitions }, () => new Uint8Array(Math.ceil(events / partitions) + 1));
  count = 0;
  repeated = 0;
  /** When each member was given which partitions. */
  readonly grants: { readonly who: number; readonly partition: number; readonly at: number }[] = [];
  readonly programs: Program[] = [];
  #changed: (() => void)[] = [];

  start(context: TestContext, options: MemberProgramOptions): Program {
    const program = Program.start(context, 'member', options);
    const who = this.programs.push(program) - 1;
    void this.#follow(program, who);
    return program;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  async #follow(program: Program, who: number): Promise<void> {
    for (;;) {
      const message = await program.message<MemberMessage>().catch(() => undefined);
      if (message === undefined) return;
      if ('granted' in message) {
        const at = performance.now();
        for (const partition of message.granted) this.grants.push({ who, partition, at });
      } else {
        this.#note(message);
      }
      for (const resolve of this.#changed.splice(0)) resolve();
    }
  }

  #note({ partition, first, last }: { partition: number; first: number; last: number }): void {
    const seen = this.processed[partition] as Uint8Array;
    for (let id = first; id <= last; id += 1) {
      if (seen[id] === 0) this.count += 1;
      else this.repeated += 1;
      seen[id] = 1;
    }
  }
}

test('three members, one killed, one added: every event is processed', { timeout: 600_000 }, async (t) => {
  const directory = await temporaryDirectory(t);
  const groupFile = join(directory, 'group.json');
  const provider = 'tcp';
  for (const name of ['s0', 's1']) await startServer(t, { data: join(directory, name), groupFile, provider });
  const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
  await driver.createTopic('t', { partitions, durability: 'os' });
  const topic = await driver.openTopic('t');
  const members = new Members();
  const options: MemberProgramOptions = { groupFile, provider, topic: 't', name: 'g', sessionTimeoutMs: 1000 };
  const [killed] = [0, 1, 2].map(() => members.start(t, options)) as [Program, Program, Program];
  await members.until(() => new Set(members.grants.map(({ who }) => who)).size === 3);
  const writer: ProducerProgramOptions = { groupFile, provider, topic: 't', who: 0, events, dataBytes: 0 };
  const producer = Program.start(t, 'producer', writer);

  await members.until(() => members.count > events / 5);
  const before = members.grants.length;
  const killedAt = performance.now();
  await killed.kill();
  await members.until(() => members.grants.length >= before + 2);
  t.diagnostic(
    `others had the partitions ${Math.round(performance.now() - killedAt)} ms after kill -9 (session time-out 1000 ms)`,
  );

  await members.until(() => members.count > events / 2);
  const addedAt = performance.now();
  members.start(t, options);
  await members.until(() => members.grants.some(({ who }) => who === 3));
  t.diagnostic(`a new member had its first partition ${Math.round(performance.now() - addedAt)} ms after its start`);

  assert.deepEqual(await producer.message(), { pushed: events, acknowledged: events, errors: 0 });
  await members.until(() => members.count === events);
  t.diagnostic(`${events} events processed, ${members.repeated} of them more than once`);
  // What a killed member has not acknowledged comes again, and no more than that.
  for (const program of members.programs.slice(1)) program.send('close');
  for (const program of members.programs.slice(1)) assert.deepEqual(await program.exited, { code: 0, signal: null });
  const [group] = await topic.consumers('g');
  assert.equal(group?.lag, 0n);
  await driver.close();
});
