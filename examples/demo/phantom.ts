/**
 * Projections of the Shepp-Logan phantom, computed exactly: it consists of ellipsoids, and the line integral through an
 * ellipsoid has a closed form. Contrast as in the modified phantom (Toft 1996); all ellipsoids are centred on the middle
 * plane, so that the middle detector row shows the well-known slice.
 */

interface Ellipsoid {
  density: number;
  /** Half axes in x, y, z. */
  axes: [number, number, number];
  centre: [number, number];
  /** Degrees, in the x-y plane. */
  rotation: number;
}

const ellipsoids: readonly Ellipsoid[] = [
  { density: 1, axes: [0.69, 0.92, 0.81], centre: [0, 0], rotation: 0 },
  { density: -0.8, axes: [0.6624, 0.874, 0.78], centre: [0, -0.0184], rotation: 0 },
  { density: -0.2, axes: [0.11, 0.31, 0.22], centre: [0.22, 0], rotation: -18 },
  { density: -0.2, axes: [0.16, 0.41, 0.28], centre: [-0.22, 0], rotation: 18 },
  { density: 0.1, axes: [0.21, 0.25, 0.41], centre: [0, 0.35], rotation: 0 },
  { density: 0.1, axes: [0.046, 0.046, 0.05], centre: [0, 0.1], rotation: 0 },
  { density: 0.1, axes: [0.046, 0.046, 0.05], centre: [0, -0.1], rotation: 0 },
  { density: 0.1, axes: [0.046, 0.023, 0.05], centre: [-0.08, -0.605], rotation: 0 },
  { density: 0.1, axes: [0.023, 0.023, 0.05], centre: [0, -0.606], rotation: 0 },
  { density: 0.1, axes: [0.023, 0.046, 0.05], centre: [0.06, -0.605], rotation: 0 },
];

/** First and last + 1 of `count` pixels over [-1, 1] whose middle is within `radius` of `middle`. */
function pixelRange(middle: number, radius: number, count: number): [number, number] {
  const toPixel = (position: number): number => ((position + 1) * count) / 2 - 0.5;
  const first = Math.max(0, Math.ceil(toPixel(middle - radius)));
  return [first, Math.min(count, Math.floor(toPixel(middle + radius)) + 1)];
}

function addEllipsoid(image: Float32Array, rows: number, columns: number, angle: number, body: Ellipsoid): void {
  const [a, b, c] = body.axes;
  const relative = angle - (body.rotation * Math.PI) / 180;
  // Half width of the shadow of the ellipse at this angle, and where its middle falls.
  const width = Math.hypot(a * Math.cos(relative), b * Math.sin(relative));
  const middle = body.centre[0] * Math.cos(angle) + body.centre[1] * Math.sin(angle);
  // Lengths in columns: a density of 1 per column, as the reconstruction assumes.
  const scale = ((2 * body.density * a * b) / (width * width)) * (columns / 2);
  const [firstRow, endRow] = pixelRange(0, c, rows);
  for (let row = firstRow; row < endRow; row++) {
    const z = (2 * (row + 0.5)) / rows - 1;
    // Squared half width of the shadow at this height.
    const reach = width * width * (1 - (z * z) / (c * c));
    const [firstColumn, endColumn] = pixelRange(middle, Math.sqrt(Math.max(0, reach)), columns);
    for (let column = firstColumn; column < endColumn; column++) {
      const offset = (2 * (column + 0.5)) / columns - 1 - middle;
      image[row * columns + column]! += scale * Math.sqrt(Math.max(0, reach - offset * offset));
    }
  }
}

/** The projection at `theta` degrees. */
export function computePhantom(theta: number, rows: number, columns: number): Float32Array {
  const image = new Float32Array(rows * columns);
  for (const body of ellipsoids) addEllipsoid(image, rows, columns, (theta * Math.PI) / 180, body);
  return image;
}
