import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DataDescriptor, type DataRange } from '../lib/index.js';

/** The model: the selected bytes as a list of their positions. */
type Model = number[];

function bytesOf(descriptor: DataDescriptor): Model {
  return descriptor.ranges().flatMap(([offset, size]) => Array.from({ length: size }, (_, i) => offset + i));
}

function modelStrided(model: Model, offset: number, count: number, block: number, gap: number): Model {
  const result: Model = [];
  for (let i = 0; i < count; i += 1) {
    const from = offset + i * (block + gap);
    result.push(...model.slice(from, from + block));
  }
  return result;
}

type Step = { apply: (descriptor: DataDescriptor) => DataDescriptor; model: (bytes: Model) => Model };

const small = fc.nat({ max: 12 });
const subView: fc.Arbitrary<Step> = fc.tuple(small, fc.nat({ max: 40 })).map(([offset, size]) => ({
  apply: (d) => d.makeSubView(offset, size),
  model: (bytes) => bytes.slice(offset, offset + size),
}));
const strided: fc.Arbitrary<Step> = fc.tuple(small, small, small, small).map(([offset, count, block, gap]) => {
  const fits = (length: number): boolean => offset + count * (block + gap) - gap <= length;
  return {
    apply: (d) => (fits(d.size) ? d.makeStridedView(offset, count, block, gap) : d),
    model: (bytes) => (fits(bytes.length) ? modelStrided(bytes, offset, count, block, gap) : bytes),
  };
});
const unstructured: fc.Arbitrary<Step> = fc.array(fc.tuple(small, small), { maxLength: 5 }).map((pairs) => {
  const ranges = (length: number): DataRange[] => {
    const chosen: DataRange[] = [];
    let at = 0;
    for (const [skip, size] of pairs) {
      if (at + skip + size > length) break;
      chosen.push([at + skip, size]);
      at += skip + size;
    }
    return chosen;
  };
  return {
    apply: (d) => d.makeUnstructuredView(ranges(d.size)),
    model: (bytes) => ranges(bytes.length).flatMap(([offset, size]) => bytes.slice(offset, offset + size)),
  };
});

test('views of views select the bytes that slicing a list of positions selects', () => {
  const steps = fc.array(fc.oneof(subView, strided, unstructured), { maxLength: 4 });
  fc.assert(
    fc.property(fc.nat({ max: 80 }), steps, (size, chain) => {
      let descriptor = DataDescriptor.whole(size);
      let model: Model = Array.from({ length: size }, (_, i) => i);
      for (const step of chain) {
        descriptor = step.apply(descriptor);
        model = step.model(model);
      }
      assert.equal(descriptor.size, model.length);
      assert.deepEqual(bytesOf(descriptor), model);
    }),
    { numRuns: 2000 },
  );
});

test('ranges are ascending, apart from each other and not empty', () => {
  const descriptor = DataDescriptor.whole(100).makeUnstructuredView([
    [0, 10],
    [10, 5],
    [20, 0],
    [30, 1],
  ]);
  assert.deepEqual(descriptor.ranges(), [
    [0, 15],
    [30, 1],
  ]);
});

test('a sub view is clamped to its parent', () => {
  const whole = DataDescriptor.whole(80);
  assert.equal(whole.makeSubView(70, 200).size, 10);
  assert.equal(whole.makeSubView(80, 1).size, 0);
  assert.equal(whole.makeSubView(81, 1).size, 0);
  assert.equal(DataDescriptor.whole(1024).makeSubView(900, 200).size, 124);
  assert.deepEqual(whole.makeSubView(0, 0).ranges(), []);
});

test('views of nothing are empty', () => {
  const whole = DataDescriptor.whole(80);
  const empty = [
    whole.makeStridedView(0, 0, 4, 4),
    whole.makeStridedView(0, 4, 0, 4),
    whole.makeUnstructuredView([]),
    whole.makeUnstructuredView([[5, 0]]),
    DataDescriptor.empty().makeSubView(3, 4),
    DataDescriptor.whole(0),
  ];
  for (const view of empty) assert.deepEqual([view.size, view.ranges()], [0, []]);
});

test('the gap behind the last block does not count', () => {
  const view = DataDescriptor.whole(80).makeStridedView(0, 2, 10, 60);
  assert.deepEqual(view.ranges(), [
    [0, 10],
    [70, 10],
  ]);
  assert.throws(() => DataDescriptor.whole(79).makeStridedView(0, 2, 10, 60), { code: 'INVALID_DESCRIPTOR' });
});

test('a rectangle of a row-major image is a strided view, also of a sub view', () => {
  const image = DataDescriptor.whole(8 * 10);
  const rectangle = image.makeSubView(2 * 10, 40).makeStridedView(3, 3, 4, 6);
  assert.deepEqual(rectangle.ranges(), [
    [23, 4],
    [33, 4],
    [43, 4],
  ]);
});

test('what is out of range, out of order or not an integer is refused', () => {
  const whole = DataDescriptor.whole(10);
  const refused: (() => unknown)[] = [
    () => whole.makeSubView(-1, 2),
    () => whole.makeSubView(0, 1.5),
    () => whole.makeSubView(0, Number.NaN),
    () => whole.makeStridedView(0, 2 ** 53 - 1, 1, 1),
    () => whole.makeStridedView(0, 2, 5, 1),
    () => whole.makeStridedView(11, 1, 1, 0),
    () => whole.makeUnstructuredView([[5, 6]]),
    () =>
      whole.makeUnstructuredView([
        [5, 2],
        [6, 1],
      ]),
    () =>
      whole.makeUnstructuredView([
        [5, 2],
        [0, 1],
      ]),
    () => DataDescriptor.whole(-1),
    () => DataDescriptor.whole(2 ** 40).makeStridedView(0, 2 ** 21, 1, 1),
  ];
  for (const call of refused) assert.throws(call, { code: 'INVALID_DESCRIPTOR' }, String(call));
});
