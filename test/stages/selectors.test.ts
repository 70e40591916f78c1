import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtInSelector, hashText } from '../../lib/stages/selectors.js';

const nothing = { partitions: 0, requested: undefined };

function select(config: Record<string, unknown>, partitions: number): (metadata: unknown) => number {
  const run = builtInSelector(config)(partitions);
  return (metadata) => run(metadata, { ...nothing, partitions });
}

test('the hash of a key never changes', () => {
  // Events of a key stay where they are, whatever the version.
  const texts = ['', '"a"', '"b"', '42', '{"x":[1,null]}', '"é"'];
  assert.deepEqual(texts.map(hashText), [2872998923, 921681762, 3466522272, 686566589, 2617474408, 2687717264]);
});

test('hash: equal values meet, different ones spread evenly', () => {
  const run = select({ type: 'hash', path: 'detector.id' }, 8);
  const counts = new Array<number>(8).fill(0);
  for (let id = 0; id < 8000; id += 1) {
    const partition = run({ detector: { id } });
    assert.equal(run({ other: 1, detector: { id, more: true } }), partition);
    counts[partition] = (counts[partition] as number) + 1;
  }
  for (const count of counts) assert.ok(count > 800 && count < 1200, `${counts}`);
  assert.equal(
    select({ type: 'hash', path: ['a.b'] }, 8)({ 'a.b': 1 }),
    select({ type: 'hash', path: 'a.b' }, 8)({ a: { b: 1 } }),
  );
});

test('range: bounds, and bins of equal width; what lies outside goes to the ends', () => {
  const bounds = select({ type: 'range', path: 'e', bounds: [10, 20, 30] }, 4);
  assert.deepEqual(
    [-5, 9.99, 10, 19, 20, 30, 1e9].map((e) => bounds({ e })),
    [0, 0, 1, 1, 2, 3, 3],
  );
  const bins = select({ type: 'range', path: 'e', minimum: 0, maximum: 100 }, 4);
  assert.deepEqual(
    [-1, 0, 24.9, 25, 50, 99, 100, 1000, Infinity].map((e) => bins({ e })),
    [0, 0, 0, 1, 2, 3, 3, 3, 3],
  );
});

test('sticky: runs of events, each producer for itself; a requested partition counts', () => {
  const make = builtInSelector({ type: 'sticky', events: 3 });
  const run = make(2);
  const other = make(2);
  const info = { partitions: 2, requested: undefined };
  assert.deepEqual(
    Array.from({ length: 8 }, () => run({}, info)),
    [0, 0, 0, 1, 1, 1, 0, 0],
  );
  assert.equal(other({}, info), 0);
  assert.equal(run({}, { partitions: 2, requested: 5 }), 1);
});

test('what a selector needs and does not find is INVALID_METADATA; wrong configurations are INVALID_ARGUMENT', () => {
  const lacking: [Record<string, unknown>, unknown][] = [
    [{ type: 'hash', path: 'a' }, { b: 1 }],
    [{ type: 'hash', path: 'a.b' }, { a: 'text' }],
    [{ type: 'hash', path: 'toString' }, {}],
    [{ type: 'hash', path: 'a' }, { a: { key: 'order' } }],
    [{ type: 'range', path: 'a', bounds: [1] }, { a: '1' }],
    [{ type: 'range', path: 'a', bounds: [1] }, null],
  ];
  for (const [config, metadata] of lacking) {
    assert.throws(() => select(config, 2)(metadata), { code: 'INVALID_METADATA', message: /at '(a|a\.b|toString)'/ });
  }
  const wrong: Record<string, unknown>[] = [
    { type: 'hash' },
    { type: 'hash', path: '' },
    { type: 'hash', path: ['a', 1] },
    { type: 'range', path: 'a' },
    { type: 'range', path: 'a', bounds: [] },
    { type: 'range', path: 'a', bounds: [2, 1] },
    { type: 'range', path: 'a', bounds: [1, 2] },
    { type: 'range', path: 'a', minimum: 1, maximum: 1 },
    { type: 'range', path: 'a', minimum: -1.7e308, maximum: 1.7e308 },
    { type: 'sticky', events: 0 },
    { type: 'sticky', event: 5 },
    { type: 'nearest' },
    { type: 'toString' },
  ];
  for (const config of wrong) {
    assert.throws(() => select(config, 2), { code: 'INVALID_ARGUMENT' }, JSON.stringify(config));
  }
});
