/**
 * The kill test of a provider: kill -9 on the server under load, restart on another port, again and again: every
 * acknowledged event is there once, in order, with the right bytes. DIASPORA_KILL_ROUNDS: rounds for each durability
 * (default 20). DIASPORA_SEED: repeats a run.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, type Durability, fullData, type Producer, type TopicHandle } from '../../lib/index.js';
import { type Kind, providerName, serverPlace } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const rounds = Number(process.env['DIASPORA_KILL_ROUNDS'] ?? 20);
const seed = Number(process.env['DIASPORA_SEED'] ?? Date.now() % 1_000_000);
const partitions = 2;

/** Sizes of data in turn: none, gathered, zero-copy. */
const sizes = [0, 100, 70_000];

interface Acknowledged {
  readonly n: number;
  readonly id: bigint;
}

function makeRandom(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Pushes until told to stop; remembers what was acknowledged, per partition. */
class Load {
  readonly acknowledged: Acknowledged[][] = Array.from({ length: partitions }, () => []);
  readonly failures: unknown[] = [];
  readonly #producer: Producer<{ n: number }>;
  #next = 0;
  #running = true;
  readonly #done: Promise<void>;

  constructor(producer: Producer<{ n: number }>) {
    this.#producer = producer;
    this.#done = this.#run();
  }

  get count(): number {
    return this.acknowledged.reduce((sum, list) => sum + list.length, 0);
  }

  get pushed(): number {
    return this.#next;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
    await this.#producer.flush();
  }

  async #run(): Promise<void> {
    while (this.#running) {
      for (let i = 0; i < 20; i += 1) this.#push();
      await Promise.race([this.#producer.ready, sleep(50)]);
      // At most this many in flight: a round shall end in the middle of work, not of a backlog.
      while (this.#running && this.#next - this.count > 2000) await sleep(1);
      await sleep(1);
    }
  }

  #push(): void {
    const n = this.#next;
    this.#next += 1;
    const partition = n % partitions;
    const size = sizes[n % sizes.length] as number;
    this.#producer.push({ n }, size === 0 ? undefined : pattern(n, size), { partition }).then(
      (id) => void this.acknowledged[partition]?.push({ n, id }),
      (error) => void this.failures.push(error),
    );
  }
}

/** Reads everything that is stored and compares it with what was acknowledged. */
async function verify(topic: TopicHandle<{ n: number }>, load: Load): Promise<void> {
  const { partitions: stored } = await topic.describe();
  for (const { partition, firstId, nextId } of stored) {
    assert.equal(firstId, 0n);
    const byN = new Map<number, bigint>();
    const consumer = topic.consumer({
      name: `verify-${partition}`,
      partitions: [partition],
      from: 'beginning',
      dataSelector: fullData,
    });
    let expected = 0n;
    let lastN = -1;
    for await (const { id, metadata, data } of consumer) {
      assert.equal(id, expected, `ids of partition ${partition} are dense`);
      assert.ok(metadata.n > lastN, `partition ${partition}: event ${metadata.n} stands behind ${lastN}`);
      assert.equal(data.byteLength, sizes[metadata.n % sizes.length]);
      assert.ok(isPattern(metadata.n, data), `partition ${partition}: bytes of event ${metadata.n}`);
      byN.set(metadata.n, id);
      lastN = metadata.n;
      expected += 1n;
      if (expected === nextId) break;
    }
    for (const { n, id } of load.acknowledged[partition] ?? []) {
      assert.equal(byN.get(n), id, `partition ${partition}: acknowledged event ${n} is stored under its id`);
    }
    await consumer.close();
  }
}

export function killRounds(kind: Kind): void {
  for (const durability of ['os', 'sync'] as const satisfies Durability[]) {
    test(`${kind}: ${rounds} rounds of kill -9, durability ${durability}, seed ${seed}`, {
      timeout: 600_000,
    }, async (t) => {
      const directory = await temporaryDirectory(t);
      const groupFile = join(directory, 'group.json');
      const provider = await providerName(kind);
      const start = () => startServer(t, { data: join(directory, 'data'), groupFile, provider, ...serverPlace(kind) });
      const random = makeRandom(seed);
      let server = await start();
      const driver = await Driver.open({ driver: 'fabric', groupFile, provider, reconnectTimeoutMs: 60_000 });
      await driver.createTopic('t', { partitions, durability });
      const topic = await driver.openTopic<{ n: number }>('t');
      const load = new Load(topic.producer());
      const addresses = new Set<string>();
      for (let round = 0; round < rounds; round += 1) {
        const before = load.count;
        while (load.count < before + 50) await sleep(1);
        await sleep(random() * 60);
        addresses.add(server.address);
        await server.kill();
        server = await start();
      }
      assert.ok(addresses.size > 1, 'the server came back on other ports');
      await load.stop();
      assert.deepEqual(load.failures, []);
      assert.equal(load.count, load.pushed);
      await verify(topic, load);
      assert.ok(driver.counters().reconnects >= rounds);
      await driver.close();
      await server.close();
      t.diagnostic(`${load.count} events acknowledged`);
    });
  }
}
