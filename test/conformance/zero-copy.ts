/**
 * The zero-copy claim, by the counters of the native core on both sides: at and above the threshold no byte of event data
 * is copied by our code, and every byte crosses by RMA; with a threshold of 1 this holds for every size.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DriverCounters, fullData } from '../../lib/index.js';
import { type AnyServer, type Backend, movedByRma } from '../support/backends.js';
import { isPattern, pattern } from '../support/pattern.js';
import { newTopic, pullAll } from './kit.js';

const KiB = 1024;

/** A segment of `bytes` in memory of its own. */
function segments(n: number, size: number, count: number): Uint8Array[] {
  const whole = pattern(n, size * count);
  return Array.from({ length: count }, (_, i) => Uint8Array.from(whole.subarray(i * size, (i + 1) * size)));
}

const cases = [
  { threshold: 64 * KiB, size: 64 * KiB },
  { threshold: 64 * KiB, size: 1024 * KiB },
  { threshold: 1, size: 1 },
  { threshold: 1, size: 1000 },
  { threshold: 1, size: 200 * KiB },
];

export function zeroCopy<S extends AnyServer>(backend: Backend<S>): void {
  for (const count of [1, 3]) {
    for (const { threshold, size } of cases) {
      const what = `${count} x ${size} B with threshold ${threshold}`;
      test(`${backend.name}: no copy of ${what}, in either direction`, { timeout: 120_000 }, async (t) => {
        const place = await backend.start(t);
        const { server } = place;
        if (server === undefined) throw new Error('zero-copy is shown on a server of its own');
        const driver = await place.open({ zeroCopyThreshold: threshold });
        const topic = await newTopic(driver, place);
        const events = 8;
        const expected = { rma: events * size * count, copied: 0, total: events * size * count };
        const start: DriverCounters[] = [driver.counters(), await server.counters()];
        const producer = topic.producer();
        for (let n = 0; n < events; n += 1) producer.push({ n }, segments(n, size, count));
        await producer.flush();
        const produced: DriverCounters[] = [driver.counters(), await server.counters()];
        for (const side of [0, 1]) {
          const moved = movedByRma(produced[side] as DriverCounters, start[side] as DriverCounters);
          assert.deepEqual(moved, expected, `${side === 0 ? 'client' : 'server'}, producing`);
        }
        const consumer = topic.consumer({ name: 'c', dataSelector: fullData });
        const received = await pullAll(consumer, events);
        for (const { metadata, data } of received) assert.ok(isPattern(metadata.n, data));
        const consumed: DriverCounters[] = [driver.counters(), await server.counters()];
        for (const side of [0, 1]) {
          const moved = movedByRma(consumed[side] as DriverCounters, produced[side] as DriverCounters);
          assert.deepEqual(moved, expected, `${side === 0 ? 'client' : 'server'}, consuming`);
        }
        await driver.close();
      });
    }
  }
}
