import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataDescriptor } from '../lib/index.js';
import { Random, seed } from './support/random.js';
import { compositions, describeView, randomView } from './support/views.js';

/** Longest list of positions: what views do shows on short ones. */
const lengthMax = 300;

function positionsOf(descriptor: DataDescriptor): number[] {
  return descriptor.ranges().flatMap(([offset, size]) => Array.from({ length: size }, (_, i) => offset + i));
}

test('views of views select the bytes that slicing a list of positions selects', (t) => {
  const count = compositions(100_000);
  const random = new Random(seed);
  const whole = Uint32Array.from({ length: lengthMax }, (_, position) => position);
  const levels = new Array<number>(6).fill(0);
  let empty = 0;
  for (let n = 0; n < count; n += 1) {
    const length = random.below(random.pick([3, 20, 80, lengthMax + 1, lengthMax + 1]));
    const { descriptor, selected, steps } = randomView(n, whole.slice(0, length), DataDescriptor.whole(length));
    const what = (): string => describeView(n, length, steps);
    assert.ok(descriptor.size === selected.length, what());
    const positions = positionsOf(descriptor);
    assert.ok(positions.length === selected.length && positions.every((at, i) => at === selected[i]), what());
    const ranges = descriptor.ranges();
    let end = -1;
    for (const [offset, size] of ranges) {
      assert.ok(offset > end && size > 0, `ranges are apart and not empty; ${what()}`);
      end = offset + size;
    }
    levels[steps.length] = (levels[steps.length] as number) + 1;
    if (selected.length === 0) empty += 1;
  }
  t.diagnostic(`${count} compositions, ${empty} of them empty; by levels ${levels.join(', ')}`);
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
