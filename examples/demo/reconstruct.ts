/**
 * Filtered back projection of one slice (parallel beam): Shepp-Logan filter by direct convolution, linear
 * interpolation. Plain loops: a slice of 640 x 640 from 181 projections takes well under a second.
 */

export interface Sinogram {
  readonly columns: number;
  /** Degrees; one line of the sinogram each. */
  readonly theta: Float64Array;
  /** theta.length x columns. */
  readonly values: Float32Array;
}

/** Convolves one line with the Shepp-Logan kernel, h[n] = 2 / (pi^2 (1 - 4 n^2)). */
function filterLine(line: Float32Array, kernel: Float64Array): Float32Array {
  const filtered = new Float32Array(line.length);
  for (let out = 0; out < line.length; out++) {
    let sum = 0;
    for (let column = 0; column < line.length; column++) sum += line[column]! * kernel[Math.abs(out - column)]!;
    filtered[out] = sum;
  }
  return filtered;
}

/**
 * The column of the rotation axis: the projection at 180 degrees is the mirror image of that at 0 degrees, and the axis
 * is where the mirror stands. Searched in half columns over the middle half of the detector.
 */
export function findCentre({ columns, theta, values }: Sinogram): number {
  const first = values.subarray(0, columns);
  // The projection nearest to half a turn behind the first.
  let opposite = 0;
  for (let index = 1; index < theta.length; index++) {
    const distance = (i: number): number => Math.abs(theta[i]! - theta[0]! - 180);
    if (distance(index) < distance(opposite)) opposite = index;
  }
  const last = values.subarray(opposite * columns, (opposite + 1) * columns);
  let best = { centre: (columns - 1) / 2, error: Number.POSITIVE_INFINITY };
  for (let doubled = Math.ceil(columns / 2); doubled <= (3 * columns) / 2; doubled++) {
    const from = Math.max(0, doubled - columns + 1);
    const to = Math.min(columns - 1, doubled);
    let error = 0;
    for (let column = from; column <= to; column++) error += (first[column]! - last[doubled - column]!) ** 2;
    error /= to - from + 1;
    if (error < best.error) best = { centre: doubled / 2, error };
  }
  return best.centre;
}

/** The slice, columns x columns; `centre` is the column of the rotation axis. */
export function reconstruct({ columns, theta, values }: Sinogram, centre: number): Float32Array {
  const kernel = Float64Array.from({ length: columns }, (_, n) => 2 / (Math.PI * Math.PI * (1 - 4 * n * n)));
  const slice = new Float32Array(columns * columns);
  const weight = Math.PI / theta.length;
  const middle = (columns - 1) / 2;
  for (let index = 0; index < theta.length; index++) {
    const line = filterLine(values.subarray(index * columns, (index + 1) * columns), kernel);
    const cos = Math.cos((theta[index]! * Math.PI) / 180);
    const sin = Math.sin((theta[index]! * Math.PI) / 180);
    for (let y = 0; y < columns; y++) {
      // The first image line is the top: y points upwards.
      let position = centre - middle * cos + (middle - y) * sin;
      for (let x = 0; x < columns; x++, position += cos) {
        const left = Math.floor(position);
        if (left < 0 || left + 1 >= columns) continue;
        const part = position - left;
        slice[y * columns + x]! += weight * (line[left]! * (1 - part) + line[left + 1]! * part);
      }
    }
  }
  return slice;
}
