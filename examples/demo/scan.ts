/**
 * A tomography scan in memory, from an HDF5 data-exchange file or computed: what the producer of the demo streams.
 *
 * The projections are line integrals (flat-field corrected, minus logarithm), so that the consumer needs nothing but
 * the events themselves to reconstruct a slice.
 */
import { type Dataset, File as Hdf5File, ready as hdf5Ready } from 'h5wasm/node';
import { computePhantom } from './phantom.js';

export interface Scan {
  /** Detector rows and columns. */
  readonly rows: number;
  readonly columns: number;
  /** Angle of each projection, degrees. */
  readonly theta: Float64Array;
  /** One image of rows x columns per projection. */
  readonly projections: readonly Float32Array[];
}

function readNumbers(file: Hdf5File, path: string): { shape: number[]; values: Float32Array | Float64Array } {
  const entity = file.get(path);
  if (entity === null) throw new Error(`the file has no ${path}: is it in the data-exchange layout?`);
  const { shape, value } = entity as Dataset;
  if (
    shape === null ||
    !(value instanceof Float32Array || value instanceof Float64Array || value instanceof Uint16Array)
  ) {
    throw new Error(`${path} is not an array of numbers`);
  }
  return { shape, values: value instanceof Uint16Array ? Float32Array.from(value) : value };
}

/** Mean over the first dimension. */
function meanImage(values: ArrayLike<number>, images: number, pixels: number): Float64Array {
  const mean = new Float64Array(pixels);
  for (let image = 0; image < images; image++) {
    for (let pixel = 0; pixel < pixels; pixel++) mean[pixel]! += values[image * pixels + pixel]! / images;
  }
  return mean;
}

/** Reads /exchange/data, data_white, data_dark and theta (degrees). */
export async function readScan(path: string): Promise<Scan> {
  await hdf5Ready;
  const file = new Hdf5File(path, 'r');
  try {
    const data = readNumbers(file, 'exchange/data');
    const [count, rows, columns] = data.shape;
    if (count === undefined || rows === undefined || columns === undefined) {
      throw new Error('/exchange/data is not of the form projections x rows x columns');
    }
    const pixels = rows * columns;
    const whites = readNumbers(file, 'exchange/data_white');
    const darks = readNumbers(file, 'exchange/data_dark');
    const white = meanImage(whites.values, whites.shape[0] ?? 1, pixels);
    const dark = meanImage(darks.values, darks.shape[0] ?? 1, pixels);
    const projections = Array.from({ length: count }, (_, index) => {
      const image = new Float32Array(pixels);
      for (let pixel = 0; pixel < pixels; pixel++) {
        const transmitted = (data.values[index * pixels + pixel]! - dark[pixel]!) / (white[pixel]! - dark[pixel]!);
        // Dead pixels and noise may make it zero or negative, where the logarithm has no value.
        image[pixel] = -Math.log(Math.max(transmitted, 1e-6));
      }
      return image;
    });
    return { rows, columns, theta: Float64Array.from(readNumbers(file, 'exchange/theta').values), projections };
  } finally {
    file.close();
  }
}

/** The Shepp-Logan phantom; one projection of the default size is 1 MiB. */
export function phantomScan(projections: number, rows = 512, columns = 512): Scan {
  const theta = Float64Array.from({ length: projections }, (_, index) => (index * 180) / projections);
  return { rows, columns, theta, projections: Array.from(theta, (angle) => computePhantom(angle, rows, columns)) };
}
