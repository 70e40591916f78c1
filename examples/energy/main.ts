/**
 * What producers and consumers of data do, step by step: data of one and of several segments, metadata as text and as an
 * object, a partition that is asked for, futures that are waited for or awaited; a data selector that wants the data of
 * some events only, and an allocator that says where it goes.
 *
 *     node dist/examples/energy/main.js            in memory, in this process
 *     node dist/examples/energy/main.js GROUP_FILE on servers that run
 */
import { parseArgs } from 'node:util';
import {
  BatchSize,
  type DataDescriptor,
  Driver,
  type DriverOptions,
  Ordering,
  type TopicHandle,
} from '../../lib/index.js';

interface Collision {
  readonly energy: number;
}

const threshold = 20;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function produce(topic: TopicHandle<Collision>): Promise<void> {
  const producer = topic.producer({
    name: 'my_producer',
    batchSize: BatchSize.of(10),
    maxNumBatches: 4,
    ordering: Ordering.Strict,
  });
  const contiguous = Buffer.from('abcdefghijklmnopqrstuvwxyz');
  const scattered = [Buffer.from('ABCDEFGHIJKLM'), Buffer.from('NOPQRSTUVWXYZ')];
  const first = producer.push('{"energy":42}', contiguous);
  const second = producer.push({ energy: 12 }, scattered, { partition: 0 });
  say(`stored as ${first.wait(5000) ?? 'not yet known'} and ${await second}`);
  for (let energy = 0; energy < 98; energy += 1) producer.push({ energy }, contiguous);
  await producer.flush();
  await producer.close();
}

/** All data of what is above the threshold, nothing of the rest. */
function selectByEnergy({ energy }: Collision, data: DataDescriptor): DataDescriptor | undefined {
  return energy > threshold ? data : undefined;
}

async function consume(topic: TopicHandle<Collision>): Promise<void> {
  const consumer = topic.consumer({
    name: 'my_consumer',
    batchSize: BatchSize.adaptive(),
    dataSelector: selectByEnergy,
    // Into memory of this program, here new for each event; it could be a slot of a ring.
    dataAllocator: (_collision, selected) => Buffer.alloc(selected.size),
  });
  let bytes = 0;
  let withData = 0;
  for (let n = 0; n < 100; n += 1) {
    const event = await consumer.pull();
    bytes += event.data.length;
    if (event.data.length > 0) withData += 1;
    if (n === 0) say(`the first has ${JSON.stringify(event.metadata)} and '${event.data}'`);
    if (n % 10 === 9) event.acknowledge();
  }
  await consumer.close();
  say(`${withData} of 100 events are above ${threshold}; ${bytes} bytes of their data were moved`);
}

const [groupFile] = parseArgs({ allowPositionals: true }).positionals;
const where: DriverOptions = groupFile === undefined ? { data: false } : { driver: 'fabric', groupFile };
const driver = await Driver.open(where);
try {
  await driver.createTopic<Collision>('energies');
  const topic = await driver.openTopic<Collision>('energies');
  await produce(topic);
  await consume(topic);
} finally {
  await driver.close();
}
