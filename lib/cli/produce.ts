/** `diaspora produce`: lines of JSON from stdin, or files, as events. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Command } from 'commander';
import { DiasporaError } from '../errors.js';
import type { Producer } from '../producer.js';
import { parseCount } from './arguments.js';
import { addConnectionOptions, type ConnectionOptions, withDriver } from './connection.js';
import { note, untilInterrupted } from './terminal.js';

interface ProduceOptions extends ConnectionOptions {
  readonly partition?: number;
  readonly quiet: boolean;
}

interface Source {
  readonly metadata: string;
  readonly data?: Uint8Array;
}

/** Ends when `stop` aborts, behind the lines that were read by then. */
async function* linesOf(input: Readable, stop: AbortSignal): AsyncGenerator<Source> {
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  const end = (): void => {
    // Destroying the input alone would leave the loop below waiting for ever.
    lines.close();
    input.destroy();
  };
  if (stop.aborted) end();
  else stop.addEventListener('abort', end, { once: true });
  let number = 0;
  for await (const line of lines) {
    number++;
    if (line.trim() === '') continue;
    try {
      JSON.parse(line);
    } catch (cause) {
      const text = `line ${number} is not JSON: ${(cause as Error).message}; the lines before it were stored`;
      throw new DiasporaError('INVALID_METADATA', text, { cause });
    }
    yield { metadata: line };
  }
}

async function* filesOf(paths: readonly string[], stop: AbortSignal): AsyncGenerator<Source> {
  for (const path of paths) {
    if (stop.aborted) return;
    const data = await readFile(path);
    yield { metadata: JSON.stringify({ name: basename(path), size: data.byteLength }), data };
  }
}

/** Pushes everything; returns how many. What was pushed is flushed whatever happens, so that an error loses nothing. */
async function pushAll(
  producer: Producer<unknown>,
  sources: AsyncIterable<Source>,
  partition: number | undefined,
): Promise<number> {
  let count = 0;
  try {
    for await (const { metadata, data } of sources) {
      producer.push(metadata, data, partition === undefined ? undefined : { partition });
      count++;
      await producer.ready;
    }
  } finally {
    await producer.close();
  }
  return count;
}

async function produce(topicName: string, files: string[], options: ProduceOptions): Promise<void> {
  await withDriver(options, async (driver) => {
    const topic = await driver.openTopic(topicName);
    const producer = topic.producer({ name: 'diaspora-cli' });
    await untilInterrupted(async (interrupted) => {
      if (files.length === 0 && process.stdin.isTTY) note('reading lines of JSON; Ctrl-D ends');
      const sources = files.length === 0 ? linesOf(process.stdin, interrupted) : filesOf(files, interrupted);
      const count = await pushAll(producer, sources, options.partition);
      if (!options.quiet) note(`stored ${count} event${count === 1 ? '' : 's'} in ${topicName}`);
    });
  });
}

export function produceCommand(): Command {
  return addConnectionOptions(new Command('produce'), parseCount)
    .description('Store events: each line of JSON on stdin as metadata, or each FILE as data with { name, size }.')
    .argument('<topic>')
    .argument('[files...]', 'files to store; without any, stdin is read')
    .option('--partition <n>', 'store everything in this partition', parseCount)
    .option('--quiet', 'say nothing at the end', false)
    .addHelpText(
      'after',
      `
Examples:
  $ echo '{"energy": 42}' | diaspora produce collisions --group-file group.json
  $ diaspora produce scans projections/*.tif --server 127.0.0.1:7000
  $ tail -f readings.jsonl | diaspora produce readings --data ./store`,
    )
    .action(produce);
}
