/** What consumers of one name must do alike on every driver, provider and partition manager; run by suite.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Consumer, ConsumerOptions, Driver, Event, TopicHandle } from '../../lib/index.js';
import type { Place } from '../support/backends.js';
import { type Numbered, newTopic, pullAll, watchdog } from './kit.js';

type Member = Consumer<Numbered, undefined>;

/** A topic with `perPartition` events in each partition. */
async function filledTopic(
  driver: Driver,
  place: Place,
  partitions: number,
  perPartition: number,
): Promise<TopicHandle<Numbered>> {
  const topic = await newTopic(driver, place, { partitions });
  const producer = topic.producer();
  for (let n = 0; n < partitions * perPartition; n += 1) producer.push({ n }, undefined, { partition: n % partitions });
  await producer.close();
  return topic;
}

function join(topic: TopicHandle<Numbered>, options: Partial<ConsumerOptions<Numbered>> = {}): Member {
  return topic.consumer({ name: 'g', ...options }) as unknown as Member;
}

/** Lets completions in until the members have as many partitions as `counts` says. */
async function settled(members: readonly Member[], counts: readonly number[]): Promise<void> {
  while (members.some((member, i) => member.partitions.length !== counts[i])) await sleep(1);
}

export function groupConformance(start: () => { driver: Driver; place: Place }): void {
  test('consumers of one name share the partitions; each event goes to one of them', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 4, 50);
    const members = [join(topic), join(topic), join(topic)];
    await settled(members, [2, 1, 1]);
    assert.deepEqual(members.flatMap(({ partitions }) => partitions).sort(), [0, 1, 2, 3]);
    const seen = new Set<string>();
    for (const member of members) {
      assert.equal(member.inGroup, true);
      for (const { partition, id } of await pullAll(member, member.partitions.length * 50)) {
        assert.ok(member.partitions.includes(partition));
        assert.ok(!seen.has(`${partition}/${id}`));
        seen.add(`${partition}/${id}`);
      }
    }
    await Promise.all(members.map((member) => member.close()));
  });

  test('when a member closes the others go on behind what it acknowledged', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 20);
    const leaver = join(topic);
    const stayer = join(topic);
    await settled([leaver, stayer], [1, 1]);
    const left = leaver.partitions[0] as number;
    const taken = await pullAll(leaver, 10);
    await taken[4]?.acknowledge();
    await leaver.close();
    await settled([stayer], [2]);
    const events = await pullAll(stayer, 35);
    assert.equal(events.find(({ partition }) => partition === left)?.id, 5n);
    await stayer.close();
  });

  test('a partition goes to another when its user has acknowledged what it got', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 20);
    const first = join(topic);
    const events = [...(await pullAll(first, 40))];
    const second = join(topic);
    while (first.partitions.length !== 1) await sleep(1);
    assert.deepEqual(second.partitions, [], 'the user may still be at work on its events');
    const moved = first.partitions[0] === 0 ? 1 : 0;
    await events
      .filter(({ partition }) => partition === moved)
      .at(-1)
      ?.acknowledge();
    await settled([second], [1]);
    assert.deepEqual(second.partitions, [moved]);
    assert.equal(second.tryPull(), undefined);
    await Promise.all([first.close(), second.close()]);
  });

  test('or when it asks for more; onRevoke is the last moment to acknowledge', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 20);
    const latest = new Map<number, Event<Numbered, undefined>>();
    const calls: string[] = [];
    const first = join(topic, {
      onAssign: (partitions) => calls.push(`assign ${partitions.join()}`),
      onRevoke: async (partitions) => {
        calls.push(`revoke ${partitions.join()}`);
        for (const partition of partitions) await latest.get(partition)?.acknowledge();
      },
    });
    const note = (event: Event<Numbered, undefined>): unknown => latest.set(event.partition, event);
    for (const event of await pullAll(first, 40)) note(event);
    const second = join(topic);
    while (first.partitions.length !== 1) await sleep(1);
    const pull = first.pull();
    await settled([second], [1]);
    assert.equal(calls[0], 'assign 0,1');
    assert.equal(calls[1], `revoke ${second.partitions.join()}`);
    await topic.producer().push({ n: 99 }, undefined, { partition: second.partitions[0] as number });
    assert.equal((await second.pull()).id, 20n, 'all that the first had was acknowledged');
    await Promise.all([first.close(), second.close()]);
    await assert.rejects(Promise.resolve(pull), { code: 'ABORTED' });
  });

  test('a member that does not let go in time is fenced: its acknowledgements are refused', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 20);
    const slow = join(topic, { rebalanceTimeoutMs: 100 });
    const events = await pullAll(slow, 40);
    const other = join(topic);
    await settled([slow, other], [1, 1]);
    const lost = other.partitions[0] as number;
    await assert.rejects(Promise.resolve(events.find(({ partition }) => partition === lost)?.acknowledge()), {
      code: 'FENCED',
      partition: lost,
    });
    await events
      .filter(({ partition }) => partition !== lost)
      .at(-1)
      ?.acknowledge();
    const [group] = await topic.consumers('g');
    assert.deepEqual(group?.positions, [{ partition: 1 - lost, nextId: 20n, lag: 0n }]);
    await Promise.all([slow.close(), other.close()]);
  });

  test('group: false, partitions and from read whatever others do', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 10);
    const member = join(topic);
    const alone = [join(topic, { group: false }), join(topic, { partitions: [1] }), join(topic, { from: 'beginning' })];
    await settled([member], [2]);
    for (const [i, consumer] of alone.entries()) {
      assert.equal(consumer.inGroup, false);
      await pullAll(consumer, i === 1 ? 10 : 20);
    }
    await Promise.all([member, ...alone].map((consumer) => consumer.close()));
    assert.throws(() => join(topic, { group: true, from: 'end' }), { code: 'INVALID_ARGUMENT' });
    assert.throws(() => join(topic, { group: false, onRevoke: () => undefined }), { code: 'INVALID_ARGUMENT' });
    assert.throws(() => join(topic, { sessionTimeoutMs: 99 }), { code: 'INVALID_ARGUMENT' });
  });

  test('a member that was forgotten leaves its partitions to the others', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 1, 5);
    await (async (): Promise<void> => {
      const forgotten = join(topic);
      await settled([forgotten], [1]);
    })();
    const heir = join(topic);
    while (heir.partitions.length === 0) {
      globalThis.gc?.();
      await sleep(5);
    }
    assert.equal((await heir.pull()).id, 0n);
    await heir.close();
  });

  test('seek goes on elsewhere; nothing of before is handed out', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 200);
    for (const consumer of [join(topic, { group: false }), join(topic)]) {
      await consumer.ready;
      const idsOf = async (partition: number, count: number): Promise<bigint[]> => {
        const ids: bigint[] = [];
        for await (const event of consumer) {
          if (event.partition === partition && ids.push(event.id) === count) return ids;
        }
        return ids;
      };
      assert.deepEqual(await idsOf(1, 3), [0n, 1n, 2n]);
      consumer.seek(1, 150);
      assert.deepEqual(await idsOf(1, 2), [150n, 151n]);
      consumer.seek(1, 'beginning');
      assert.deepEqual(await idsOf(1, 2), [0n, 1n]);
      consumer.seek(0, 'end');
      consumer.seek(1, 'end');
      assert.equal(await Promise.race([consumer.pull(), sleep(50)]), undefined);
      assert.throws(() => consumer.seek(2, 0), { code: 'INVALID_PARTITION' });
      consumer.seek(0, 1_000_000);
      // The pull from above is the one that hears of it.
      await consumer.close();
      assert.throws(() => consumer.seek(0, 0), { code: 'INVALID_STATE' });
    }
  });

  test('a partition that failed is read again after a seek', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 1, 10);
    const consumer = join(topic, { from: 99 });
    await assert.rejects(Promise.resolve(consumer.pull()), { code: 'OFFSET_OUT_OF_RANGE' });
    const other = join(topic, { from: 5 });
    await other.ready;
    other.seek(0, 99);
    await assert.rejects(Promise.resolve(other.pull()), { code: 'OFFSET_OUT_OF_RANGE' });
    other.seek(0, 7);
    assert.equal((await other.pull()).id, 7n);
    await Promise.all([consumer.close(), other.close()]);
  });

  test('resetConsumer sets a cursor back, and not under a consumer that reads', watchdog, async () => {
    const { driver, place } = start();
    const topic = await filledTopic(driver, place, 2, 10);
    const consumer = join(topic);
    for (const event of await pullAll(consumer, 20)) await event.acknowledge();
    await assert.rejects(topic.resetConsumer('g', 'beginning'), { code: 'INVALID_STATE' });
    await consumer.close();
    await topic.resetConsumer('g', 4n, [1]);
    const [group] = await topic.consumers('g');
    assert.deepEqual(
      group?.positions.map(({ nextId }) => nextId),
      [10n, 4n],
    );
    const again = join(topic);
    assert.equal((await again.pull()).id, 4n);
    await again.close();
    await topic.resetConsumer('g', 'end');
    assert.equal((await topic.consumers('g'))[0]?.lag, 0n);
    await assert.rejects(topic.resetConsumer('g', 11), { code: 'OFFSET_OUT_OF_RANGE' });
    await assert.rejects(topic.resetConsumer('g', 0, [2]), { code: 'INVALID_PARTITION' });
    await assert.rejects(topic.resetConsumer('', 0), { code: 'INVALID_NAME' });
  });
}
