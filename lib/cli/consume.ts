/** `diaspora consume`: prints events, and writes their data to files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import type { Consumer, ConsumerOptions } from '../consumer.js';
import type { Event } from '../event.js';
import { parseCount, parsePositive } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { aborted, formatBytes, printLine, untilInterrupted } from './terminal.js';

interface ConsumeOptions extends ConnectionOptions {
  readonly from?: 'beginning' | 'end' | bigint;
  readonly name?: string;
  readonly partition?: number[];
  readonly out?: string;
  readonly json: boolean;
  readonly max?: number;
  readonly idleTimeout?: number;
}

function parseFrom(text: string): 'beginning' | 'end' | bigint {
  if (text === 'beginning' || text === 'end') return text;
  if (/^\d+$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError('It must be beginning, end or an event id.');
}

/** Bytes of an event's data as one piece. */
function bytesOf(event: Event<unknown>): Uint8Array {
  return event.data ?? new Uint8Array(0);
}

/** `partition-id.bin`, or with the name that `produce FILE` gave behind it; never a path out of the directory. */
function fileNameOf(event: Event<unknown>): string {
  const { name } = (event.metadata ?? {}) as { name?: unknown };
  const given = typeof name === 'string' ? name.replaceAll(/[^\w.-]/g, '_').slice(-100) : '';
  return `${event.partition}-${event.id}${given === '' ? '.bin' : `-${given}`}`;
}

async function show(event: Event<unknown>, options: ConsumeOptions): Promise<void> {
  const data = bytesOf(event);
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

/** The next event; undefined when interrupted, or when none came for the idle time. */
async function nextEvent(
  consumer: Consumer<unknown>,
  interruption: Promise<undefined>,
  idleTimeout: number | undefined,
): Promise<Event<unknown> | undefined> {
  const candidates: Promise<Event<unknown> | undefined>[] = [Promise.resolve(consumer.pull()), interruption];
  if (idleTimeout === undefined) return Promise.race(candidates);
  let timer: NodeJS.Timeout | undefined;
  const idle = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), idleTimeout);
  });
  try {
    return await Promise.race([...candidates, idle]);
  } finally {
    clearTimeout(timer);
  }
}

async function consume(topicName: string, options: ConsumeOptions): Promise<void> {
  if (options.out !== undefined) await mkdir(options.out, { recursive: true });
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    // A consumer without a name of its own remembers nothing, so it begins where it is told, else at the beginning.
    const from = options.from ?? (options.name === undefined ? 'beginning' : undefined);
    const settings: ConsumerOptions<unknown> = {
      name: options.name ?? 'diaspora-cli',
      dataSelector: 'full',
      ...(from === undefined ? {} : { from }),
      ...(options.partition === undefined ? {} : { partitions: options.partition }),
    };
    const consumer = topic.consumer(settings);
    await untilInterrupted(async (interrupted) => {
      const interruption = aborted(interrupted);
      for (let seen = 0; seen < (options.max ?? Number.POSITIVE_INFINITY); seen++) {
        const event = await nextEvent(consumer, interruption, options.idleTimeout);
        if (event === undefined) break;
        await show(event, options);
        if (options.name !== undefined) await event.acknowledge();
      }
    });
    await consumer.close();
  });
}

export function consumeCommand(): Command {
  return addConnectionOptions(new Command('consume'), parseCount)
    .description('Print the events of a topic as they come, until Ctrl-C, --max or --idle-timeout.')
    .argument('<topic>')
    .option(
      '--from <where>',
      'beginning, end, or an event id (default: beginning, with --name behind the last)',
      parseFrom,
    )
    .option('--name <consumer>', 'remember under this name what was consumed, and go on behind it the next time')
    .option('--partition <n...>', 'only these partitions', (text: string, list: number[] = []) => [
      ...list,
      parseCount(text),
    ])
    .option('--out <dir>', 'write the data of each event to a file there')
    .option('--json', 'one JSON object a line: partition, id, metadata, bytes, file', false)
    .option('--max <n>', 'end after so many events', parsePositive)
    .option('--idle-timeout <ms>', 'end when no event came for so long', parsePositive)
    .addHelpText(
      'after',
      `
Examples:
  $ diaspora consume collisions --group-file group.json
  $ diaspora consume scans --out ./received --idle-timeout 2000 --server 127.0.0.1:7000
  $ diaspora consume collisions --name analysis --json --data ./store | jq .metadata.energy
  $ diaspora consume collisions --from end --max 10 --group-file group.json`,
    )
    .action(consume);
}
