/**
 * The demo (`npm run demo`): streams a tomography scan from a producer process through a server process to a consumer
 * process, which reconstructs a slice. Prints one table; exit code 0 only when every byte arrived as it was pushed.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Presets, SingleBar } from 'cli-progress';
import type { DriverCounters } from 'diaspora-stream';
import { ServerProcess, stopChildren, Worker } from './children.js';
import type { ConsumerReport, ConsumerStart, ProducerReport, ProducerStart } from './messages.js';
import { checksumsEqual, type Results, table } from './table.js';

const help = `Usage: npm run demo -- [options]

Streams a tomography scan through a server and reconstructs a slice of it.

Options:
  --input FILE.h5       HDF5 file in the data-exchange layout (default: a computed Shepp-Logan phantom)
  --projections N       projections of the phantom, about 1 MiB each (default 180)
  --centre COLUMN       column of the rotation axis (default: found by comparing 0 and 180 degrees)
  --provider NAME       libfabric provider: auto, tcp, shm, ... (default auto)
  --durability WHEN     memory, os or sync: when an event counts as stored (default sync)
  --out DIR             where the pictures go (default demo-output)
`;

interface Settings {
  readonly input: string | undefined;
  readonly projections: number;
  readonly centre: number | undefined;
  readonly provider: string;
  readonly durability: 'memory' | 'os' | 'sync';
  readonly out: string;
}

/** Wrong arguments or a missing file: one line is enough. */
class UsageError extends Error {}

function readArguments(): Settings | undefined {
  const { values } = parseArgs({
    options: {
      input: { type: 'string' },
      projections: { type: 'string', default: '180' },
      centre: { type: 'string' },
      provider: { type: 'string', default: 'auto' },
      durability: { type: 'string', default: 'sync' },
      out: { type: 'string', default: 'demo-output' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { durability, provider } = values;
  const projections = Number(values.projections);
  if (!Number.isInteger(projections) || projections < 2)
    throw new UsageError('--projections must be a number from 2 on');
  const centre = values.centre === undefined ? undefined : Number(values.centre);
  if (Number.isNaN(centre)) throw new UsageError('--centre must be a number, for example 295.5');
  if (durability !== 'memory' && durability !== 'os' && durability !== 'sync') {
    throw new UsageError('--durability must be memory, os or sync');
  }
  const input = values.input === undefined ? undefined : resolve(values.input);
  if (input !== undefined && !existsSync(input)) throw new UsageError(`${values.input} does not exist`);
  return { input, projections, centre, provider, durability, out: resolve(values.out) };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A bar on a terminal, a line for every tenth elsewhere. */
function progress(total: number): { update(events: number): void; stop(): void } {
  if (process.stdout.isTTY) {
    const bar = new SingleBar({ format: 'projections [{bar}] {value}/{total}  {eta_formatted} left' }, Presets.legacy);
    bar.start(total, 0);
    return { update: (events) => bar.update(events), stop: () => bar.stop() };
  }
  let tenths = 0;
  return {
    update: (events) => {
      const reached = Math.floor((10 * events) / total);
      if (reached > tenths) say(`projections received: ${events}/${total}`);
      tenths = Math.max(tenths, reached);
    },
    stop: () => {},
  };
}

async function stream(settings: Settings, directory: string): Promise<Results> {
  const { input, provider, durability, centre, out: outputDirectory } = settings;
  const groupFile = join(directory, 'group.json');
  const common = { groupFile, provider, topic: 'scan' };
  const source = input === undefined ? 'Shepp-Logan phantom' : basename(input);

  const server = new ServerProcess([
    '--data',
    join(directory, 'store'),
    '--group-file',
    groupFile,
    '--provider',
    provider,
  ]);
  const ready = await server.ready();
  say(`server     ${ready.address}, providers ${ready.providers.join(' ')}`);

  const producer = new Worker<ProducerReport>('producer', './producer.js');
  producer.tell({ ...common, input, projections: settings.projections, durability } satisfies ProducerStart);
  const loaded = await producer.next();
  const projections = loaded.type === 'ready' ? loaded.projections : 0;
  say(`producer   ${source}, ${projections} projections`);

  const consumer = new Worker<ConsumerReport>('consumer', './consumer.js');
  consumer.tell({ ...common, projections, outputDirectory, centre } satisfies ConsumerStart);
  await consumer.next();
  say(`consumer   ready; acknowledged means ${durability === 'sync' ? 'synced to disk' : `durability ${durability}`}`);

  const bar = progress(projections);
  const reports = Promise.all([producer.next(), consumer.next((events) => bar.update(events))]);
  producer.tell('go');
  const [pushed, received] = await reports.finally(() => bar.stop());
  await Promise.all([producer.ended, consumer.ended]);
  const counters = await server.stop<DriverCounters>();
  if (pushed.type !== 'report' || received.type !== 'report')
    throw new Error('the processes of the demo are out of step');
  const pictures = received.report.pictures.map((path) => relative(process.cwd(), path));
  return { source, producer: pushed.report, consumer: { ...received.report, pictures }, server: counters };
}

async function main(): Promise<number> {
  const settings = readArguments();
  if (settings === undefined) {
    say(help);
    return 0;
  }
  const directory = await mkdtemp(join(tmpdir(), 'diaspora-demo-'));
  const interrupted = new Promise<number>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => resolve(signal === 'SIGINT' ? 130 : 143));
  });
  try {
    const outcome = await Promise.race([stream(settings, directory), interrupted]);
    if (typeof outcome === 'number') return outcome;
    say(table(outcome));
    return checksumsEqual(outcome) ? 0 : 1;
  } finally {
    await stopChildren();
    await rm(directory, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  // parseArgs reports what it does not know as a TypeError with a code.
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
