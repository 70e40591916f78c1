/** Writes numbers as an 8-bit grey PNG: black at the 1st percentile, white at the 99th. */
import { writeFile } from 'node:fs/promises';
import { encode } from 'fast-png';

export async function writePicture(path: string, values: Float32Array, width: number): Promise<void> {
  const sorted = Float32Array.from(values).sort();
  const percentile = (part: number): number => sorted[Math.floor((sorted.length - 1) * part)]!;
  const [black, white] = [percentile(0.01), percentile(0.99)];
  const scale = white > black ? 255 / (white - black) : 0;
  const data = Uint8Array.from(values, (value) => Math.min(255, Math.max(0, Math.round((value - black) * scale))));
  await writeFile(path, encode({ width, height: values.length / width, data, depth: 8, channels: 1 }));
}
