/**
 * Random views of views over the wire: what arrives is what slicing the data gives, in memory of the consumer's or of the
 * caller's, and no other byte moves. DIASPORA_VIEWS: compositions on each place (default 5,000); DIASPORA_SEED repeats.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Consumer, Driver, DriverCounters, EventData, fullData } from '../../lib/index.js';
import { type Backend, backends, movedByRma } from '../support/backends.js';
import { pattern } from '../support/pattern.js';
import { Random } from '../support/random.js';
import { compositions, describeView, randomView, type View } from '../support/views.js';
import { type Numbered, newTopic } from './kit.js';

const KiB = 1024;
const windowBytes = 256 * KiB;
const events = 500;
/** Of event n; every fiftieth is larger than the consumer's window. */
const sizes = [0, 1, 2, 7, 100, 1000, 3000, 4096, 20_000, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1];
const thresholds = [64 * KiB, 1];
const allocations = ['none', 'one segment', 'several segments'] as const;

function dataOf(n: number): Uint8Array {
  const size = n % 50 === 49 ? windowBytes + 50 * KiB + n : (sizes[n % sizes.length] as number);
  return new Uint8Array(pattern(n, size).buffer);
}

/** Memory for a selection: segments with other bytes between them, which nobody may touch. */
interface Memory {
  readonly slab: Uint8Array;
  readonly segments: Uint8Array[];
}

function makeMemory(lengths: readonly number[]): Memory {
  const guard = 13;
  const slab = new Uint8Array(lengths.reduce((sum, length) => sum + length + guard, guard)).fill(0xee);
  let at = guard;
  const segments = lengths.map((length) => {
    const segment = slab.subarray(at, at + length);
    at += length + guard;
    return segment;
  });
  return { slab, segments };
}

/** What a selection into `memory` must look like. */
function filled({ segments }: Memory, selected: Uint8Array): Uint8Array {
  const memory = makeMemory(segments.map(({ byteLength }) => byteLength));
  let at = 0;
  for (const segment of memory.segments) {
    segment.set(selected.subarray(at, at + segment.byteLength));
    at += segment.byteLength;
  }
  return memory.slab;
}

/** Reads all events once, each by the next composition, and knows what must have moved. */
class Pass {
  readonly expected = { rma: 0, copied: 0, total: 0 };
  readonly #views = new Map<number, View<Uint8Array>>();
  readonly #memory = new Map<number, Memory>();
  readonly #data: readonly Uint8Array[];
  readonly #first: number;
  readonly #threshold: number;
  readonly #random: Random;

  constructor(data: readonly Uint8Array[], first: number, threshold: number) {
    this.#data = data;
    this.#first = first;
    this.#threshold = threshold;
    this.#random = new Random(first);
  }

  readonly select: typeof fullData = (metadata, whole) => {
    const { n } = metadata as Numbered;
    const data = this.#data[n] as Uint8Array;
    assert.equal(whole.size, data.byteLength);
    const view = randomView(this.#first + n, data, whole);
    const { length } = view.selected;
    this.#views.set(n, view);
    this.expected.rma += length;
    this.expected.total += length;
    if (length < this.#threshold) this.expected.copied += length;
    return view.descriptor;
  };

  allocate(n: number, size: number, kind: (typeof allocations)[number]): EventData {
    const lengths = [size];
    const pieces = kind === 'one segment' ? 1 : 1 + this.#random.below(5);
    while (lengths.length < pieces) {
      const last = lengths.pop() as number;
      const cut = this.#random.below(last + 1);
      lengths.push(cut, last - cut);
    }
    const memory = makeMemory(lengths);
    this.#memory.set(n, memory);
    return kind === 'one segment' ? (memory.segments[0] as Uint8Array) : memory.segments;
  }

  check(n: number, data: unknown): void {
    const { selected, steps } = this.#views.get(n) as View<Uint8Array>;
    const memory = this.#memory.get(n);
    const [arrived, wanted] =
      memory === undefined ? [data as Buffer, selected] : [memory.slab, filled(memory, selected)];
    const what = (): string => describeView(this.#first + n, this.#data[n]?.byteLength ?? 0, steps);
    assert.ok(Buffer.compare(arrived, wanted) === 0, what());
    this.#views.delete(n);
    this.#memory.delete(n);
  }
}

function addTo(sum: { rma: number; copied: number; total: number }, moved: typeof sum): void {
  sum.rma += moved.rma;
  sum.copied += moved.copied;
  sum.total += moved.total;
}

function viewsOverTheWire(backend: Backend): void {
  const rounds = Math.ceil(compositions(5000) / events);
  const count = rounds * events;
  const title = `${backend.name}: ${count} random views arrive as slicing gives them, and nothing else moves`;
  test(title, { timeout: 600_000 }, async (t) => {
    const place = await backend.start(t);
    const drivers: Driver[] = [];
    for (const zeroCopyThreshold of thresholds) drivers.push(await place.open({ zeroCopyThreshold }));
    const [driver] = drivers as [Driver, ...Driver[]];
    const { name } = await newTopic(driver, place, { partitions: 2, durability: 'os' });
    const topics = await Promise.all(drivers.map((each) => each.openTopic<Numbered>(name)));
    const data = Array.from({ length: events }, (_, n) => dataOf(n));
    const producer = topics[0]?.producer();
    data.forEach((bytes, n) => void producer?.push({ n }, bytes));
    await producer?.close();

    const counters = async (): Promise<DriverCounters[]> => [
      ...drivers.map((each) => each.counters()),
      ...(place.server === undefined ? [] : [await place.server.counters()]),
    ];
    const before = await counters();
    const expected = before.map(() => ({ rma: 0, copied: 0, total: 0 }));
    for (let round = 0; round < rounds; round += 1) {
      const who = round % drivers.length;
      const kind = allocations[Math.floor(round / drivers.length) % allocations.length] ?? 'none';
      const pass = new Pass(data, round * events, thresholds[who] as number);
      const options = { name: 'c', group: false, windowBytes, dataSelector: pass.select } as const;
      const consumer: Consumer<Numbered, unknown> | undefined =
        kind === 'none'
          ? topics[who]?.consumer(options)
          : topics[who]?.consumer({ ...options, dataAllocator: ({ n }, { size }) => pass.allocate(n, size, kind) });
      await consumer?.process(({ metadata, data: arrived }) => pass.check(metadata.n, arrived), { maxEvents: events });
      await consumer?.close();
      addTo(expected[who] as Pass['expected'], pass.expected);
      const server = expected[drivers.length];
      if (server !== undefined) addTo(server, { ...pass.expected, copied: 0 });
    }
    const after = await counters();
    after.forEach((each, i) => {
      const moved = movedByRma(each, before[i] as DriverCounters);
      assert.deepEqual(moved, expected[i], drivers[i] === undefined ? 'server' : `threshold ${thresholds[i]}`);
    });
    const selected = expected.slice(0, drivers.length).reduce((sum, { total }) => sum + total, 0);
    const stored = data.reduce((sum, { byteLength }) => sum + byteLength, 0) * rounds;
    t.diagnostic(`${(selected / 2 ** 20).toFixed(1)} of ${(stored / 2 ** 20).toFixed(1)} MiB were selected`);
    await Promise.all(drivers.map((each) => each.close()));
  });
}

viewsOverTheWire(backends.embeddedLog);
viewsOverTheWire(backends.tcpLog);
