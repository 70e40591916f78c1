/** The demo's consumer process: receives the projections, checks every byte and reconstructs the middle slice. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Consumer, Driver } from 'diaspora-stream';
import {
  type ConsumerReport,
  type ConsumerStart,
  fromParent,
  monotonicMicroseconds,
  type ProjectionMetadata,
  tellParent,
} from './messages.js';
import { writePicture } from './picture.js';
import { findCentre, reconstruct, type Sinogram } from './reconstruct.js';

interface Received {
  readonly report: Pick<ConsumerReport, 'events' | 'bytes' | 'latenciesMs' | 'lastReceivedAt' | 'sha256' | 'damaged'>;
  readonly sinogram: Sinogram;
}

/** The pixels of the event as numbers, without a copy where their alignment allows it. */
function pixelsOf(data: Uint8Array): Float32Array {
  const aligned = data.byteOffset % Float32Array.BYTES_PER_ELEMENT === 0 ? data : data.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / Float32Array.BYTES_PER_ELEMENT);
}

async function receive(consumer: Consumer<ProjectionMetadata>, projections: number): Promise<Received> {
  const latenciesMs: number[] = [];
  const checksums: string[] = [];
  const theta = new Float64Array(projections);
  let values = new Float32Array(0);
  let columns = 0;
  let [bytes, damaged, lastReceivedAt] = [0, 0, 0];
  for await (const event of consumer) {
    lastReceivedAt = monotonicMicroseconds();
    const { index, shape, sentAt, sha256, theta: angle } = event.metadata;
    const data = event.data ?? new Uint8Array(0);
    latenciesMs.push((lastReceivedAt - sentAt) / 1000);
    const received = createHash('sha256').update(data).digest('hex');
    checksums[index] = received;
    if (received !== sha256) damaged++;
    bytes += data.byteLength;
    if (columns === 0) {
      columns = shape[1];
      values = new Float32Array(projections * columns);
    }
    const row = Math.floor((shape[0] - 1) / 2);
    values.set(pixelsOf(data).subarray(row * columns, (row + 1) * columns), index * columns);
    theta[index] = angle;
    await tellParent({ type: 'progress', events: latenciesMs.length });
    if (latenciesMs.length === projections) break;
  }
  const sha256 = createHash('sha256').update(checksums.join('')).digest('hex');
  const report = { events: latenciesMs.length, bytes, latenciesMs, lastReceivedAt, sha256, damaged };
  return { report, sinogram: { columns, theta, values } };
}

const start = await fromParent<ConsumerStart>();
const driver = await Driver.open({ driver: 'fabric', groupFile: start.groupFile, provider: start.provider });
const topic = await driver.openTopic<ProjectionMetadata>(start.topic);
const consumer = topic.consumer({ name: 'reconstruction', dataSelector: 'full' });
await tellParent({ type: 'ready', projections: start.projections });
const { report, sinogram } = await receive(consumer, start.projections);
await consumer.close();
const counters = driver.counters();
await driver.close();

const centre = start.centre ?? findCentre(sinogram);
const pictures = ['sinogram.png', 'slice.png'].map((name) => join(start.outputDirectory, name));
await mkdir(start.outputDirectory, { recursive: true });
await writePicture(pictures[0]!, sinogram.values, sinogram.columns);
await writePicture(pictures[1]!, reconstruct(sinogram, centre), sinogram.columns);
await tellParent<ConsumerReport>({ type: 'report', report: { ...report, counters, centre, pictures } });
process.disconnect();
