/** `diaspora consume`: prints events, and writes their data to files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ConsumerOptions } from '../consumer.js';
import type { Event } from '../event.js';
import { parseEach, parsePositive, parseTimeout } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { formatBytes, printLine, untilInterrupted } from './terminal.js';

interface ConsumeOptions extends ConnectionOptions {
  readonly from?: 'beginning' | 'end' | bigint;
  readonly fromTime?: Date;
  readonly name?: string;
  readonly partition?: number[];
  readonly out?: string;
  readonly json: boolean;
  readonly max?: number;
  readonly idleTimeout?: number;
  readonly skipDropped: boolean;
}

function parseFrom(text: string): 'beginning' | 'end' | bigint {
  if (text === 'beginning' || text === 'end') return text;
  if (/^\d+$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError('It must be beginning, end or an event id.');
}

function parseTime(text: string): Date {
  const time = new Date(text);
  if (!Number.isNaN(time.getTime()) && time.getTime() >= 0) return time;
  throw new InvalidArgumentError('It must be a time like 2026-05-01T12:00:00Z, since 1970.');
}

/** `partition-id.bin`, or with the name that `produce FILE` gave behind it; never a path out of the directory. */
function fileNameOf(event: Event<unknown>): string {
  const { name } = (event.metadata ?? {}) as { name?: unknown };
  const given = typeof name === 'string' ? name.replaceAll(/[^\w.-]/g, '_').slice(-100) : '';
  return `${event.partition}-${event.id}${given === '' ? '.bin' : `-${given}`}`;
}

async function show(event: Event<unknown>, options: ConsumeOptions): Promise<void> {
  const data = event.data ?? Buffer.alloc(0);
  let file: string | undefined;
  if (options.out !== undefined && data.byteLength > 0) {
    file = join(options.out, fileNameOf(event));
    await writeFile(file, data);
  }
  const { partition, metadata } = event;
  if (options.json) {
    const line = {
      partition,
      id: Number(event.id),
      metadata,
      bytes: data.byteLength,
      ...(file === undefined ? {} : { file }),
    };
    await printLine(JSON.stringify(line));
    return;
  }
  const size = data.byteLength === 0 ? '' : `  ${formatBytes(data.byteLength)}`;
  await printLine(
    `${partition}:${event.id}  ${JSON.stringify(metadata)}${size}${file === undefined ? '' : `  ${file}`}`,
  );
}

async function consume(topicName: string, options: ConsumeOptions): Promise<void> {
  if (options.out !== undefined) await mkdir(options.out, { recursive: true });
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    // A consumer without a name of its own remembers nothing, so it begins where it is told, else at the beginning.
    const timestamp = options.fromTime;
    const told = timestamp === undefined ? options.from : { timestamp };
    const from = told ?? (options.name === undefined ? 'beginning' : undefined);
    const settings: ConsumerOptions<unknown> = {
      name: options.name ?? 'diaspora-cli',
      dataSelector: 'full',
      ...(from === undefined ? {} : { from }),
      ...(options.skipDropped ? { onOffsetOutOfRange: 'oldest' } : {}),
      ...(options.partition === undefined ? {} : { partitions: options.partition }),
    };
    const consumer = topic.consumer(settings);
    const { max = Number.POSITIVE_INFINITY, idleTimeout } = options;
    await untilInterrupted(async (signal) => {
      const iteration = { signal, ...(idleTimeout === undefined ? {} : { idleTimeoutMs: idleTimeout }) };
      let seen = 0;
      try {
        for await (const event of consumer.events(iteration)) {
          await show(event, options);
          if (options.name !== undefined) await event.acknowledge();
          if (++seen >= max) break;
        }
      } catch (error) {
        // Ctrl-C is how an endless command ends.
        if (!signal.aborted) throw error;
      }
    });
    await consumer.close();
  });
}

export function consumeCommand(): Command {
  return addConnectionOptions(new Command('consume'))
    .description(
      'Print the events of a topic as they come, until Ctrl-C, --max, --idle-timeout or the end of a complete topic.',
    )
    .argument('<topic>')
    .option(
      '--from <where>',
      'beginning, end, or an event id (default: beginning, with --name behind the last)',
      parseFrom,
    )
    .addOption(
      new Option('--from-time <time>', 'the first event stored then or later, for example 2026-05-01T12:00:00Z')
        .argParser(parseTime)
        .conflicts('from'),
    )
    .option(
      '--name <consumer>',
      'remember under this name what was consumed and go on behind it; several with one name share the partitions, unless --from or --partition say what to read',
    )
    .option('--partition <n...>', 'only these partitions', parseEach)
    .option('--skip-dropped', 'go on at the oldest event kept where the next one was dropped (default: fail)', false)
    .option('--out <dir>', 'write the data of each event to a file there')
    .option('--json', 'one JSON object a line: partition, id, metadata, bytes, file', false)
    .option('--max <n>', 'end after so many events', parsePositive)
    .option('--idle-timeout <ms>', 'end when no event came for so long', parseTimeout)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora consume collisions --group-file group.json
  $ diaspora consume scans --out ./received --idle-timeout 2000 --server 127.0.0.1:7000
  $ diaspora consume collisions --name analysis --json --data ./store | jq .metadata.energy
  $ diaspora consume collisions --from-time 2026-05-01T12:00:00+02:00 --group-file group.json
  $ diaspora consume collisions --from end --max 10 --group-file group.json`,
    )
    .action(consume);
}
