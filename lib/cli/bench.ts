/**
 * `diaspora bench producer | consumer`: how fast this machine stores events in a topic, or reads them. Start several for
 * several ranks: each tells its own figures. The project's own comparison with ceilings is `npm run bench` in its sources.
 */
import { randomFillSync, randomUUID } from 'node:crypto';
import { Command, InvalidArgumentError, Option } from 'commander';
import { BatchSize } from '../batch-size.js';
import type { Consumer } from '../consumer.js';
import type { DriverCounters } from '../counters.js';
import type { DataDescriptor } from '../data-descriptor.js';
import type { Driver } from '../driver.js';
import { parseBytes, parseCount, parsePositive } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { printLine } from './terminal.js';

/** Buffers that events are pushed from in turn: as many as are in flight, so that each is registered once. */
const buffersMax = 16;
const bufferBytesMax = 256 * 2 ** 20;
/** Bytes that are pushed between two looks at whether the producer is ready: far below the driver's limit. */
const pauseBytes = 2 ** 20;

interface CommonOptions extends ConnectionOptions {
  readonly events: number;
  readonly batchSize: BatchSize;
  readonly json: boolean;
}

interface ProducerOptions extends CommonOptions {
  readonly dataSize: number;
  readonly metadataSize: number;
  readonly flushEvery: number;
}

interface ConsumerOptions extends CommonOptions {
  readonly interest: number;
  readonly selectivity: number;
}

function parseBatchSize(text: string): BatchSize {
  return text === 'adaptive' ? BatchSize.adaptive() : BatchSize.of(parsePositive(text));
}

function parseFraction(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('It must be a number from 0 to 1.');
}

/** JSON text of `bytes` bytes, or the shortest there is. */
export function metadataOf(n: number, bytes: number): string {
  const short = `{"n":${n}}`;
  const padding = bytes - short.length - ',"pad":""'.length;
  return padding < 0 ? (bytes < short.length ? '{}' : short) : `{"n":${n},"pad":"${'x'.repeat(padding)}"}`;
}

/** Whether event `n` is one of the fraction: spread evenly, and the same in every run. */
export function isOfInterest(n: number, fraction: number): boolean {
  return Math.floor((n + 1) * fraction) > Math.floor(n * fraction);
}

async function report(
  what: string,
  seconds: number,
  events: number,
  counters: DriverCounters,
  json: boolean,
): Promise<void> {
  const { dataBytes, dataBytesByRma, dataBytesCopied } = counters;
  const figures = {
    events,
    seconds: Number(seconds.toFixed(6)),
    eventsPerSecond: Math.round(events / seconds),
    dataBytes,
    megabytesPerSecond: Number((dataBytes / seconds / 1e6).toFixed(1)),
    dataBytesByRma,
    dataBytesCopied,
    provider: counters.providers[0] ?? '',
  };
  if (json) return printLine(JSON.stringify(figures));
  const { eventsPerSecond, megabytesPerSecond, provider } = figures;
  await printLine(`${what} ${events} events in ${seconds.toFixed(3)} s: ${eventsPerSecond} events/s`);
  await printLine(
    `data: ${dataBytes} bytes, ${megabytesPerSecond} MB/s; ${dataBytesByRma} by RMA, ${dataBytesCopied} copied`,
  );
  await printLine(`provider: ${provider}`);
}

function makeBuffers(driver: Driver, size: number): Uint8Array[] {
  if (size === 0) return [];
  const count = Math.max(1, Math.min(buffersMax, Math.floor(bufferBytesMax / size)));
  return Array.from({ length: count }, () => {
    const buffer = new Uint8Array(driver.allocate(size));
    randomFillSync(buffer);
    return buffer;
  });
}

async function benchProducer(topicName: string, options: ProducerOptions): Promise<void> {
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    const buffers = makeBuffers(driver, options.dataSize);
    const producer = topic.producer({ batchSize: options.batchSize });
    // Looking costs as much as pushing a small event.
    const pause = Math.max(1, Math.floor(pauseBytes / (options.dataSize + options.metadataSize + 1)));
    const begin = performance.now();
    for (let n = 0; n < options.events; n += 1) {
      producer.push(metadataOf(n, options.metadataSize), buffers[n % buffers.length]);
      if (options.flushEvery > 0 && (n + 1) % options.flushEvery === 0) await producer.flush();
      else if (n % pause === 0) await producer.ready;
    }
    await producer.flush();
    const [error] = producer.errors;
    if (error !== undefined) throw error;
    const seconds = (performance.now() - begin) / 1000;
    await report('stored', seconds, options.events, driver.counters(), options.json);
    await producer.close();
  });
}

/** Returns the bytes of data that came with so many events. */
async function consumeAll(consumer: Consumer<unknown, Buffer | undefined>, events: number): Promise<number> {
  let left = events;
  let bytes = 0;
  if (left === 0) return bytes;
  for await (const { events: run } of consumer.batches()) {
    for (const { data } of run.slice(0, left)) bytes += data?.length ?? 0;
    left -= run.length;
    if (left <= 0) break;
  }
  return bytes;
}

async function benchConsumer(topicName: string, options: ConsumerOptions): Promise<void> {
  const { interest, selectivity } = options;
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    const { partitions } = await topic.describe();
    const stored = partitions.reduce((sum, { firstId, nextId }) => sum + Number(nextId - firstId), 0);
    const events = Math.min(options.events, stored);
    let seen = 0;
    const select = (_metadata: unknown, data: DataDescriptor): DataDescriptor | undefined => {
      const chosen = isOfInterest(seen, interest);
      seen += 1;
      return chosen ? data.makeSubView(0, Math.ceil(data.size * selectivity)) : undefined;
    };
    const everything = interest === 1 && selectivity === 1;
    // A name of its own: nothing is acknowledged, and no other reader's place is touched.
    const consumer = topic.consumer({
      name: `bench-${randomUUID()}`,
      from: 'beginning',
      batchSize: options.batchSize,
      ...(interest === 0 ? {} : { dataSelector: everything ? ('full' as const) : select }),
    });
    await consumer.ready;
    const begin = performance.now();
    const bytes = await consumeAll(consumer, events);
    const seconds = (performance.now() - begin) / 1000;
    await consumer.close();
    // The counters have what was delivered ahead, too.
    await report('read', seconds, events, { ...driver.counters(), dataBytes: bytes }, options.json);
  });
}

function addCommonOptions(command: Command): Command {
  return addConnectionOptions(command)
    .argument('<topic>', 'a topic that exists')
    .option('-n, --events <n>', 'how many events', parsePositive, 1000)
    .addOption(
      new Option('-b, --batch-size <n>', "events in a batch, or 'adaptive'")
        .argParser(parseBatchSize)
        .default(BatchSize.adaptive(), 'adaptive'),
    )
    .option('--json', 'print one JSON object', false);
}

function producerCommand(): Command {
  return addCommonOptions(new Command('producer'))
    .description('Store events as fast as they are taken.')
    .option('-s, --data-size <bytes>', 'data of an event', parseBytes, 0)
    .option('-m, --metadata-size <bytes>', 'metadata of an event, JSON text', parseBytes, 128)
    .option('-f, --flush-every <n>', 'flush and wait after so many events; 0: at the end', parseCount, 0)
    .addHelpText('after', '\nExample:\n  $ diaspora bench producer scans -n 10000 -s 1MiB --group-file group.json')
    .action(benchProducer);
}

function consumerCommand(): Command {
  return addCommonOptions(new Command('consumer'))
    .description('Read the stored events of a topic from the beginning, without acknowledging any.')
    .option('-i, --interest <fraction>', 'of the events, those whose data is read', parseFraction, 1)
    .option('-s, --selectivity <fraction>', 'of their data, the part that is read', parseFraction, 1)
    .addHelpText(
      'after',
      '\nExample:\n  $ diaspora bench consumer scans -n 10000 -i 0.1 -s 0.5 --group-file group.json',
    )
    .action(benchConsumer);
}

export function benchCommand(): Command {
  return new Command('bench')
    .description('Measure a producer or a consumer on a topic.')
    .addCommand(producerCommand())
    .addCommand(consumerCommand())
    .addHelpText('after', '\nExample:\n  $ diaspora bench producer scans -n 10000 -s 1MiB --group-file group.json');
}
