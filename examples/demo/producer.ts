/** The demo's producer process: loads or computes the scan, then pushes one event per projection. */
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { Driver, type TopicHandle } from 'diaspora-stream';
import {
  fromParent,
  monotonicMicroseconds,
  type ProducerReport,
  type ProducerStart,
  type ProjectionMetadata,
  tellParent,
} from './messages.js';
import { phantomScan, readScan, type Scan } from './scan.js';

function checksum(pixels: Float32Array): string {
  return createHash('sha256').update(pixels).digest('hex');
}

async function pushScan(topic: TopicHandle<ProjectionMetadata>, scan: Scan): Promise<Omit<ProducerReport, 'counters'>> {
  const { projections, rows, columns, theta } = scan;
  // Before the clock starts: the demo measures the stream and not SHA-256.
  const checksums = projections.map(checksum);
  const producer = topic.producer({ name: 'scanner' });
  const pushLatenciesMs: number[] = [];
  const pushes: Promise<unknown>[] = [];
  const firstPushAt = monotonicMicroseconds();
  for (const [index, pixels] of projections.entries()) {
    const start = performance.now();
    const future = producer.push(
      {
        index,
        theta: theta[index]!,
        shape: [rows, columns],
        dtype: 'float32',
        sentAt: monotonicMicroseconds(),
        sha256: checksums[index]!,
      },
      pixels,
    );
    pushes.push(future.then(() => pushLatenciesMs.push(performance.now() - start)));
    // Back pressure: push itself never blocks.
    await producer.ready;
  }
  await producer.close();
  await Promise.all(pushes);
  return {
    events: projections.length,
    bytes: projections.length * rows * columns * Float32Array.BYTES_PER_ELEMENT,
    pushLatenciesMs,
    firstPushAt,
    sha256: createHash('sha256').update(checksums.join('')).digest('hex'),
  };
}

const start = await fromParent<ProducerStart>();
const scan = start.input === undefined ? phantomScan(start.projections) : await readScan(start.input);
const driver = await Driver.open({ driver: 'fabric', groupFile: start.groupFile, provider: start.provider });
await driver.createTopic(start.topic, { durability: start.durability });
const topic = await driver.openTopic<ProjectionMetadata>(start.topic);

const go = fromParent<'go'>();
await tellParent({ type: 'ready', projections: scan.projections.length });
await go;
const pushed = await pushScan(topic, scan);
await tellParent<ProducerReport>({ type: 'report', report: { ...pushed, counters: driver.counters() } });
await driver.close();
process.disconnect();
