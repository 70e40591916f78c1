/**
 * The kill tests of a provider: kill -9 on the server under load, restart on another port, again and again; and kill -9
 * on producers in the middle of transfers. Every acknowledged event is there once, in order, with the right bytes, and
 * nothing stays registered. DIASPORA_KILL_ROUNDS: rounds of each (default 20). DIASPORA_SEED: repeats a run.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Driver, type Durability, fullData, type Producer, type TopicHandle } from '../../lib/index.js';
import { type Kind, providerName, serverPlace } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { Program } from '../support/program.js';
import { startServer } from '../support/server-process.js';
import { temporaryDirectory } from '../support/temporary.js';

const rounds = Number(process.env['DIASPORA_KILL_ROUNDS'] ?? 20);
const seed = Number(process.env['DIASPORA_SEED'] ?? Date.now() % 1_000_000);
const partitions = 2;

/**
 * Bound on going on after a kill, milliseconds: from the restart of a server to the next acknowledgement, and from a
 * client's death to its session's end. Half of it is what a slow guest needs to start a process.
 */
const recoveryMs = 30_000;
const timeout = 60_000 + rounds * 2 * recoveryMs;

/** Sizes of data in turn: none, gathered, zero-copy. */
const sizes = [0, 100, 70_000];

/** Looks until it holds; fails after `recoveryMs`. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + recoveryMs;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `${what} within ${recoveryMs} ms`);
    await sleep(1);
  }
}

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
  readonly #pauseMs: number;
  #next = 0;
  #running = true;
  readonly #done: Promise<void>;

  /** `pauseMs`: between twenty events and the next. */
  constructor(producer: Producer<{ n: number }>, pauseMs: number) {
    this.#producer = producer;
    this.#pauseMs = pauseMs;
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

  /** A test that has failed must not go on for ever. */
  async abandon(driver: Driver): Promise<void> {
    this.#running = false;
    await driver.destroy();
  }

  async #run(): Promise<void> {
    while (this.#running) {
      for (let i = 0; i < 20; i += 1) this.#push();
      await Promise.race([this.#producer.ready, sleep(50)]);
      // At most this many in flight: a round shall end in the middle of work, not of a backlog.
      while (this.#running && this.#next - this.count > 2000) await sleep(1);
      await sleep(this.#pauseMs);
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
    test(`${kind}: ${rounds} rounds of kill -9, durability ${durability}, seed ${seed}`, { timeout }, async (t) => {
      const directory = await temporaryDirectory(t);
      const groupFile = join(directory, 'group.json');
      const provider = await providerName(kind);
      const start = () => startServer(t, { data: join(directory, 'data'), groupFile, provider, ...serverPlace(kind) });
      const random = makeRandom(seed);
      let server = await start();
      const driver = await Driver.open({ driver: 'fabric', groupFile, provider, reconnectTimeoutMs: 60_000 });
      await driver.createTopic('t', { partitions, durability });
      const topic = await driver.openTopic<{ n: number }>('t');
      const load = new Load(topic.producer(), 1);
      t.after(() => load.abandon(driver));
      const addresses = new Set<string>();
      let slowestMs = 0;
      for (let round = 0; round < rounds; round += 1) {
        const before = load.count;
        const started = performance.now();
        await until('the next acknowledgement', () => load.count > before);
        slowestMs = Math.max(slowestMs, performance.now() - started);
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
      await until('no registrations', async () => (await server.counters()).registrations === 0);
      await server.close();
      t.diagnostic(`${load.count} events acknowledged, the first after a restart within ${Math.ceil(slowestMs)} ms`);
    });
  }
}

interface Told {
  readonly who: number;
  readonly n: number;
}

/** The numbers of the events that were acknowledged to a program until it ended. */
async function acknowledgedTo(victim: Program, onFirst: () => void): Promise<number[]> {
  const numbers: number[] = [];
  for (;;) {
    try {
      numbers.push(await victim.message<number>());
    } catch {
      return numbers;
    }
    onFirst();
  }
}

/** What each victim pushed is stored from its first event on without a gap, and up to what was acknowledged to it. */
async function verifyVictims(topic: TopicHandle<Told>, acknowledged: number[][], dataBytes: number): Promise<void> {
  const { partitions: stored } = await topic.describe();
  for (const { partition, nextId } of stored) {
    const next = acknowledged.map(() => partition);
    const consumer = topic.consumer({
      name: `victims-${partition}`,
      partitions: [partition],
      from: 'beginning',
      dataSelector: fullData,
    });
    for await (const { id, metadata, data } of consumer) {
      assert.equal(metadata.n, next[metadata.who], `partition ${partition}: next event of producer ${metadata.who}`);
      assert.equal(data.byteLength, dataBytes);
      assert.ok(isPattern(metadata.n, data), `bytes of event ${metadata.n} of producer ${metadata.who}`);
      next[metadata.who] = metadata.n + stored.length;
      if (id + 1n === nextId) break;
    }
    await consumer.close();
    for (const [who, numbers] of acknowledged.entries()) {
      const last = Math.max(-1, ...numbers.filter((n) => n % stored.length === partition));
      assert.ok(last < (next[who] as number), `partition ${partition}: acknowledged event ${last} of producer ${who}`);
    }
  }
}

/** Producers are killed, one a round, while another goes on. */
export function producerKillRounds(kind: Kind): void {
  test(`${kind}: ${rounds} producers killed in the middle of transfers, seed ${seed}`, { timeout }, async (t) => {
    const directory = await temporaryDirectory(t);
    const groupFile = join(directory, 'group.json');
    const provider = await providerName(kind);
    const server = await startServer(t, { data: join(directory, 'data'), groupFile, provider, ...serverPlace(kind) });
    const driver = await Driver.open({ driver: 'fabric', groupFile, provider });
    await driver.createTopic('t', { partitions, durability: 'os' });
    await driver.createTopic('victims', { partitions, durability: 'os' });
    const topic = await driver.openTopic<{ n: number }>('t');
    // Lightly: in a guest that emulates its adapter the victims would hardly get a word in.
    const load = new Load(topic.producer(), 500);
    t.after(() => load.abandon(driver));
    const random = makeRandom(seed);
    const dataBytes = 300_000;
    const acknowledged: number[][] = [];
    for (let who = 0; who < rounds; who += 1) {
      const options = { groupFile, provider, topic: 'victims', who, events: 100_000, dataBytes, tellsEach: true };
      const victim = Program.start(t, 'producer', { ...options, connectTimeoutMs: recoveryMs });
      let seen = false;
      let ended = false;
      const told = acknowledgedTo(victim, () => {
        seen = true;
      });
      void told.then(() => {
        ended = true;
      });
      await until('an acknowledgement', () => seen || ended);
      assert.ok(!ended, `a producer ended by itself: ${victim.stderr}`);
      await sleep(random() * 60);
      await victim.kill();
      acknowledged.push(await told);
      await until('the end of its session', async () => (await server.counters()).sessions === 1);
      const before = load.count;
      await until('an acknowledgement to the other', () => load.count > before);
    }
    await load.stop();
    assert.deepEqual(load.failures, []);
    await verify(topic, load);
    await verifyVictims(await driver.openTopic<Told>('victims'), acknowledged, dataBytes);
    assert.equal(driver.counters().reconnects, 0);
    await driver.close();
    await until('no registrations', async () => (await server.counters()).registrations === 0);
    await server.close();
    t.diagnostic(`${acknowledged.flat().length} events acknowledged to those that were killed`);
  });
}
