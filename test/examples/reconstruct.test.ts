/** The demo's mathematics, on the phantom, whose densities are known exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findCentre, reconstruct, type Sinogram } from '../../examples/demo/reconstruct.js';
import { phantomScan } from '../../examples/demo/scan.js';

const size = 128;

/** The middle row of a small phantom, moved `shift` columns to the right on the detector. */
function sinogram(shift: number): Sinogram {
  const scan = phantomScan(180, 3, size);
  const values = new Float32Array(scan.theta.length * size);
  for (const [index, image] of scan.projections.entries()) {
    values.set(image.subarray(size, 2 * size - shift), index * size + shift);
  }
  return { columns: size, theta: scan.theta, values };
}

/** Mean of a small square of the slice around a point of the phantom's plane, [-1, 1] with y upwards. */
function densityAt(slice: Float32Array, x: number, y: number): number {
  const column = Math.round(((x + 1) * size) / 2 - 0.5);
  const line = Math.round(((1 - y) * size) / 2 - 0.5);
  let sum = 0;
  for (let dy = -2; dy <= 2; dy++) {
    for (let dx = -2; dx <= 2; dx++) sum += slice[(line + dy) * size + column + dx] ?? Number.NaN;
  }
  return sum / 25;
}

function assertNear(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) < 0.03, `${actual} is not near ${expected}`);
}

test('the slice has the densities of the phantom', () => {
  const slice = reconstruct(sinogram(0), (size - 1) / 2);
  assertNear(densityAt(slice, 0, 0.35), 0.3);
  assertNear(densityAt(slice, 0, -0.4), 0.2);
  assertNear(densityAt(slice, 0.22, 0), 0);
  assertNear(densityAt(slice, -0.22, 0), 0);
  assertNear(densityAt(slice, 0.82, 0.2), 0);
});

test('the rotation axis is found where it is', () => {
  assert.equal(findCentre(sinogram(0)), (size - 1) / 2);
  assert.equal(findCentre(sinogram(4)), (size - 1) / 2 + 4);
});

test('a slice about a moved axis is the same slice', () => {
  const moved = sinogram(4);
  const slice = reconstruct(moved, findCentre(moved));
  assertNear(densityAt(slice, 0, 0.35), 0.3);
  assertNear(densityAt(slice, 0.22, 0), 0);
});
