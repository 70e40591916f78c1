/**
 * The running example of the Diaspora Stream API: collisions with an energy. A validator refuses energies out of range,
 * a partition selector spreads them over bins, and a serializer stores each in one byte.
 *
 *     node dist/examples/collisions/main.js            in memory, in this process
 *     node dist/examples/collisions/main.js GROUP_FILE on servers that run
 */
import { parseArgs } from 'node:util';
import { type DataDescriptor, Driver, type DriverOptions } from '../../lib/index.js';

interface Collision {
  readonly energy: number;
}

const energyMax = 99;
const bins = 4;
const collisions = 1000;

/** A calorimeter image: 16 rows of 32 bytes; the event is in a rectangle of it. */
const image = { rows: 16, columns: 32 } as const;
const rectangle = { row: 4, column: 8, rows: 6, columns: 10 } as const;

const schema = {
  type: 'object',
  properties: { energy: { type: 'integer', minimum: 0, maximum: energyMax } },
  required: ['energy'],
  additionalProperties: false,
} as const;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The rectangle's rows: a sub view that begins at its corner, then one block a row, each a row apart. */
function selectRectangle(_collision: Collision, data: DataDescriptor): DataDescriptor {
  const { row, column, rows, columns } = rectangle;
  const corner = row * image.columns + column;
  return data.makeSubView(corner, data.size - corner).makeStridedView(0, rows, columns, image.columns - columns);
}

async function produce(driver: Driver): Promise<void> {
  const topic = await driver.openTopic<Collision>('collisions');
  const producer = topic.producer({ name: 'detector' });
  for (let n = 0; n < collisions; n += 1) {
    const pixels = new Uint8Array(image.rows * image.columns).fill(n % 256);
    producer.push({ energy: (n * 37) % (energyMax + 1) }, pixels);
    await producer.ready;
  }
  const refused = producer.push({ energy: energyMax + 1 });
  await producer.flush();
  await refused.catch((error) => say(`refused: ${(error as Error).message}`));
  await producer.close();
}

async function consume(driver: Driver): Promise<void> {
  const topic = await driver.openTopic<Collision>('collisions');
  const consumer = topic.consumer({ name: 'analysis', dataSelector: selectRectangle });
  const counts = new Array<number>(bins).fill(0);
  let bytes = 0;
  let stored = 0;
  await consumer.process(
    async (event) => {
      counts[event.partition] = (counts[event.partition] ?? 0) + 1;
      bytes += event.data.length;
      stored += event.metadataBytes.length;
      if (event.id % 100n === 99n) await event.acknowledge();
    },
    { maxEvents: collisions },
  );
  await consumer.close();
  say(`collisions by energy: ${counts.join(', ')}`);
  say(`metadata stored: ${stored} bytes; data moved: ${bytes} of ${collisions * image.rows * image.columns} bytes`);
}

const [groupFile] = parseArgs({ allowPositionals: true }).positionals;
const where: DriverOptions = groupFile === undefined ? { data: false } : { driver: 'fabric', groupFile };
const driver = await Driver.open(where);
try {
  await driver.createTopic<Collision>('collisions', {
    partitions: bins,
    validator: { type: 'schema', schema },
    partitionSelector: { type: 'range', path: 'energy', minimum: 0, maximum: energyMax + 1 },
    serializer: { type: 'schema', schema },
  });
  await produce(driver);
  await consume(driver);
} finally {
  await driver.close();
}
